"""Published checkpoints to folders that the engine runs."""
