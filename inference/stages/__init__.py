"""The coarse and the fine stage: view passes, sliding windows, regions, packed results."""
