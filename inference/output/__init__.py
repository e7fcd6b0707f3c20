"""What a run leaves: outputs written atomically, the report, the log."""
