"""Pre-training without labels: hidden patches of all volumes are told (SPAD-Nets, section 4.4)."""
