"""p(x | c, z): the base model, its adapters, prefix trees, training, and what each variant is
shown.
"""
