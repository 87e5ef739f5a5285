"""`python -m tinyodl` is the command `tinyodl`."""

from tinyodl.cli import main

main()
