"""Files: whole or not there, one process at a time, and the record of what was built here."""
