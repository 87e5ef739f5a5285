"""Learners and plans tried on samples on this computer, before one of them goes onto a board."""
