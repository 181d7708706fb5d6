"""The few operations that decide how fast training is, each exact and tested against a plain
reference.
"""
