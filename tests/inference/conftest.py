"""Property tests ask the same questions every time, and take the time they need: machines differ."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "vesal", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vesal")
