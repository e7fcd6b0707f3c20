"""What a run writes down while it trains: moving averages, one row each, every few steps."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from vesal.training.views import Item


class Log:
    """Moving averages of loss and Dice per set and stage, appended to ``log.csv``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, float] = {}
        self.once: dict[str, float] = {}

    def add(self, item: Item, loss: float, dice: float) -> None:
        """Take in one view; ``dice`` is NaN where none of its classes is in view."""
        self.move(f"loss {item.stage}", loss)
        if not math.isnan(dice):
            self.move(f"{item.volume.dataset} {item.stage}", dice)

    def move(self, key: str, value: float) -> None:
        """Take in a value of a moving average."""
        self.values[key] = value if key not in self.values else 0.97 * self.values[key] + 0.03 * value

    def note(self, key: str, value: float) -> None:
        """Take in a value as it is, for the next rows alone, instead of a moving average."""
        self.once[key] = value

    def write(self, step: int, spent_s: float, rate: float) -> None:
        """One row per moving average."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as handle:
            rows = csv.writer(handle)
            if new:
                rows.writerow(["step", "seconds", "rate", "key", "value"])
            for key, value in sorted((self.values | self.once).items()):
                rows.writerow([step, f"{spent_s:.0f}", f"{rate:.2e}", key, f"{value:.4f}"])
        self.once.clear()
