"""Query: the board says which labels it wants."""
