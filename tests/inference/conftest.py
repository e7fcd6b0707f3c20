"""Property tests ask the same questions every time, and take the time they need: machines differ."""

from hypothesis import settings

settings.register_profile("vesal", deadline=None, derandomize=True)
settings.load_profile("vesal")
