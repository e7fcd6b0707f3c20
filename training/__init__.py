"""Training of the default weights, from data to export. Never imported by the container."""
