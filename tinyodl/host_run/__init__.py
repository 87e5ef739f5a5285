"""A training graph in this process: the C of a board, as a shared library of this computer."""
