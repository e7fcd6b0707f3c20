"""Training of the default weights, from data to export. Never imported by the container."""

import os

# As in the container (``inference/runner/command.py``), so that what is measured here is what that writes,
# to the bit; numpy reads it when it is first loaded.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
