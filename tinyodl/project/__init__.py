"""What a project is, as data: the options of its compilation, and its plan."""
