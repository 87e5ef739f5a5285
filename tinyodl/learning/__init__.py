"""How a network learns on the board, and what the board computes beside it."""
