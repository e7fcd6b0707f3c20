"""The command: its arguments and settings, the loop over cases, deadlines, exit codes."""
