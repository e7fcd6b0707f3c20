"""Family ``voxtell``: see ``family``."""
