"""Family ``voxtell``: any words, by stored text vectors, in windows as acquired (VoxTell, CVPR 2026)."""
