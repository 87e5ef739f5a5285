"""Where templates, board descriptions and examples lie: in a checkout or an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent

TEMPLATES = (
    _CHECKOUT / "templates" if (_CHECKOUT / "templates").is_dir() else _PACKAGE / "templates"
)
BOARDS = _CHECKOUT / "boards" if (_CHECKOUT / "boards").is_dir() else _PACKAGE / "boards_data"
EXAMPLES = _CHECKOUT / "examples" if (_CHECKOUT / "examples").is_dir() else _PACKAGE / "examples"
