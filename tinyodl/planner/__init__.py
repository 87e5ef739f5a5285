"""The planner: memory and work of a training graph on a board, with nothing rendered."""
