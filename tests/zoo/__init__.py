"""Wrong gradients that were released, each made again as a small program, with the corrected program beside it.

The bugs are those of public trackers; the code and the numbers here are our own. One module a theme; each has a list
ANIMALS. `_frame` says what an animal is and checks it, `_rules` makes rules for PyTorch and JAX out of functions.
"""
