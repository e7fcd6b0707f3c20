"""The coarse and the fine stage: passes over views, sliding windows, regions, what is kept of a result."""
