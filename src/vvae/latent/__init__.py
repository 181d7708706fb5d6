"""z: the latent space, a persona in it, the prior, a speaker's profile, and how a reply's z is
chosen.
"""
