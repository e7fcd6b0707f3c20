"""``python -m training.measure WHAT``: what a set of weights can do, through the engine of the container."""
