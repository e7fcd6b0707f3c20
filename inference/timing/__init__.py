"""How much time a case has, what the next step will take, and what is left out to be done in time."""
