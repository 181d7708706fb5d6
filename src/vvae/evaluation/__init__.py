"""Experiments on a finished run: studies, controllability, blind test, memorisation, annotation,
doctor.
"""
