"""Samples: read from files, checked against a model, ordered, and watched for outliers."""
