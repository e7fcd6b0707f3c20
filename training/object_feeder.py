"""Processes that draw views for the head that tells objects apart: a GPU waits for no drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vesal.training.object_views import ObjectView, ObjectVolume, object_views


class _Views(IterableDataset[ObjectView]):
    """Every process draws each n-th view: which views there are does not hang on how many draw them."""

    def __init__(self, volumes: Sequence[ObjectVolume], seed: int, first: int) -> None:
        self._volumes, self._seed, self._first = volumes, seed, first

    def __iter__(self) -> Iterator[ObjectView]:
        """The views of this process."""
        torch.set_num_threads(1)
        info = get_worker_info()
        mine, count = (0, 1) if info is None else (info.id, info.num_workers)
        return object_views(self._volumes, self._seed, self._first + mine, count)


def fed_views(volumes: Sequence[ObjectVolume], seed: int, first: int, processes: int) -> Iterator[ObjectView]:
    """The views of ``object_views`` in their order, drawn by so many processes; 0: by this one."""
    if not processes:
        return object_views(volumes, seed, first)
    loader = DataLoader(
        _Views(volumes, seed, first), batch_size=None, num_workers=processes, prefetch_factor=4
    )
    return iter(loader)
