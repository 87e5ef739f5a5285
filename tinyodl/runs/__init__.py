"""A run: its options, its way from the first sample to the last, and the log it leaves behind."""
