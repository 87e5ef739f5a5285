"""A project as data: the options of its compilation, and its plan."""
