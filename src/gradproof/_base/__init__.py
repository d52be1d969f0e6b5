"""What every room may use: errors, names, trees of arrays, flat vectors, files.

It imports nothing of gradproof.
"""
