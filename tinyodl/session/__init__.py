"""A session with a board: put firmware on it, train, evaluate, profile, ask, account energy."""
