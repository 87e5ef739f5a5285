"""Where templates, board descriptions and examples lie: in a checkout or an installed wheel.

A wheel has them inside the package; there is no looking beside it, where other packages' folders
may have the same names.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = (_PACKAGE / "templates").is_dir()
_CHECKOUT = _PACKAGE.parent

TEMPLATES = (_PACKAGE if _INSTALLED else _CHECKOUT) / "templates"
BOARDS = _PACKAGE / "boards_data" if _INSTALLED else _CHECKOUT / "boards"
EXAMPLES = (_PACKAGE if _INSTALLED else _CHECKOUT) / "examples"
