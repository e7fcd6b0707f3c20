"""Vesal's engine: what the container runs, from a case file to a label map."""
