"""The cache: features of samples, to learn from again."""
