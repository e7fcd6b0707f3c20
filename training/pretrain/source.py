"""The volumes to pre-train on, all of ``train`` without their labels, and the crops of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vesal.training.parallel import is_first
from vesal.training.pretrain.crops import Crop, draw_crop
from vesal.training.shelf import files, fill, read
from vesal.training.store import SetRule, Volume, find_volumes, without_patients

EVEN = 0.5
"""Power of a set's volumes by which it is drawn: between as often as any other, and by their number."""


def read_unlabelled(data: Path, store: Path, rules: dict[str, SetRule]) -> list[Volume]:
    """All volumes of ``data/train``, unpacked to ``store`` once; none of a patient of ``data/val``.

    Sets that training leaves out are in, as nothing of their labels is used; those without a rule are not.
    """
    paths = find_volumes(data / "train", rules)
    paths = without_patients(paths, sorted((data / "val").glob("*/*.npz")))
    if is_first():
        fill(store, files(paths), unlabelled=True)
    return read(store, rules, unlabelled=True)


class CropSource:
    """Crops of volumes: the n-th of a step has a seed of its own, so a run that goes on draws what it would
    have drawn.
    """

    def __init__(
        self, volumes: Sequence[Volume], rules: dict[str, SetRule], voxels: int, seed: int, rank: int = 0
    ) -> None:
        """``rank``: of this process; each draws its own crops."""
        self._by_set: dict[str, list[Volume]] = {}
        for volume in volumes:
            self._by_set.setdefault(volume.dataset, []).append(volume)
        self._names = sorted(self._by_set)
        weights = np.array([len(self._by_set[name]) ** EVEN for name in self._names])
        self._shares = weights / weights.sum()
        self._rules, self._voxels, self._seed, self._rank = rules, voxels, seed, rank

    def crop(self, step: int, number: int) -> Crop:
        """The crop of this number in a step."""
        rng = np.random.default_rng([self._seed, step, number, 1 + self._rank])
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        volumes = self._by_set[name]
        volume = volumes[int(rng.integers(len(volumes)))]
        return draw_crop(volume, self._rules[name], self._voxels, rng)
