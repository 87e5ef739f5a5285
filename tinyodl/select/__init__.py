"""What learns: from the user's words, or from a plan file, to an `UpdatePlan`."""

from tinyodl.select.fixed import SCHEMES, choose

__all__ = ["SCHEMES", "choose"]
