"""`report.html`: a run as one page that needs no other file, no network and no script for reading."""
