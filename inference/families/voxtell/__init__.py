"""Family ``voxtell``: free text to masks, window by window (VoxTell, Rokuss et al. 2026)."""
