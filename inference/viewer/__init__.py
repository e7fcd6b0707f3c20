"""`vesal view`: a page on this machine alone that shows a case and its labels, and runs more sentences."""
