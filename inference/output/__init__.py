"""Outputs of a run: label maps written atomically, the report, the log."""
