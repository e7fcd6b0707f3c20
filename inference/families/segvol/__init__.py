"""Family ``segvol``: text, boxes and points, zoom-out and zoom-in (SegVol, Du et al. 2024)."""
