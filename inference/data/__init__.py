"""Plain records that every room may import: case, prompts, results, errors, terms."""
