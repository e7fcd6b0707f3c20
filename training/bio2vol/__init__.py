"""``python -m vesal.training.bio2vol``: what a slice network learns from the slices around it."""
