"""What a project can be made for: chip families, boards, and the checks of their files."""
