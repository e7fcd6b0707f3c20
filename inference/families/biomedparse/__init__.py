"""Family ``biomedparse-v``: slices with their volume around them, segmented by sentence (BiomedParse-V)."""
