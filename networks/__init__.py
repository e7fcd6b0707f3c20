"""Torch definitions of the networks, one file each. Never imported by the container."""
