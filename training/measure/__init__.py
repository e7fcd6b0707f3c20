"""``python -m vesal.training.measure WHAT``: what weights can do, through the engine of the container."""
