"""How a network learns on a board."""
