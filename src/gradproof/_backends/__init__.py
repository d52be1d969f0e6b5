"""What differs between array libraries: which values are leaves, how they are copied and made anew. So far NumPy."""
