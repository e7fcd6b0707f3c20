"""Files: one module a format, the restricted readers behind them, prompts and masks of the user."""
