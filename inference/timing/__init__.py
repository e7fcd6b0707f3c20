"""The time limit of a case, cost estimates, and what is dropped to meet the limit."""
