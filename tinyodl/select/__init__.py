"""What learns: from the user's words, or from a plan file, to an `UpdatePlan`."""

from tinyodl.select.fixed import SCHEMES, choose

AUTO = "auto"  # the word for a plan that `tinyodl.select.auto` chooses

__all__ = ["AUTO", "SCHEMES", "choose"]
