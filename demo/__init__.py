"""Demo cases from volumes that Python packages carry, with picture and score; the image's self-check."""
