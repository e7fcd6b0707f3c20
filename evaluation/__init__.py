"""Scores, timing and comparison of predictions: the right measures, and the organizers' own."""
