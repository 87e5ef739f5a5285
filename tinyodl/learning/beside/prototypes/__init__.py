"""Prototypes: the first samples of each label make a row of the last layer, which then learns."""
