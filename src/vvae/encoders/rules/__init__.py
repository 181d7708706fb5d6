"""The default encoder: deterministic labelling functions, English and Chinese,
no language model.
"""
