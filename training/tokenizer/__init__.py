"""Training of the visual tokenizer, and what it reconstructs (SPAD-Nets, section 4.3; docs/spad.md)."""
