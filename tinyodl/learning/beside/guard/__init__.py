"""Guard: the board tests on samples that it holds back, and undoes what made it worse."""
