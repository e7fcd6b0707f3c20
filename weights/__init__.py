"""Weights and what makes them, one folder each."""
