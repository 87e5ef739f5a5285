"""Cache: the features of some samples are kept, to learn from them again."""
