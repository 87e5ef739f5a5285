"""Training graph + memory plan + board -> the files of a PlatformIO project."""

from tinyodl.codegen.project import render_project, write_project

__all__ = ["render_project", "write_project"]
