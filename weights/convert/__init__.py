"""Published checkpoints of Medal S and SAT to folders that the engine runs."""
