"""The labels that the page shows: one map, and what each value in it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vesal.inference.data.colours import colour_of, hex_of
from vesal.inference.geometry.views import Sides, Triple
from vesal.inference.viewer.grid import PageGrid

MAX_LABELS = 65535


@dataclass(frozen=True)
class Label:
    """One value of the map."""

    id: int
    name: str
    text: str
    """The sentence, empty where there was none."""
    voxels: int
    """Of its whole result; the map has fewer where a smaller label lies in front of it."""
    ml: float
    centre: tuple[int, int, int] | None
    """One of its voxels, near the middle, (D,H,W) of the case; None where it is empty."""
    note: str = ""
    """Why it is empty, or what it shares with others."""


class Labels:
    """The map and its labels. One thread at a time may add."""

    def __init__(self, shape: Sides, spacing_dhw_mm: Triple) -> None:
        """No label yet, on a volume of ``shape`` (D,H,W)."""
        self.map = np.zeros(shape, np.uint16)
        self.all: dict[int, Label] = {}
        self.version = 0
        self._ml = math.prod(spacing_dhw_mm) / 1000

    def add_map(self, labels: np.ndarray, names: dict[int, str], texts: dict[int, str]) -> None:
        """Take a whole label map (D, H, W) of 0..65535 in place of what there is."""
        self.map = labels.astype(np.uint16)
        middles = _middles(self.map)
        ids = sorted(set(middles) | set(names))
        self.all = {
            id_: self._label(
                id_, names.get(id_, f"label {id_}"), texts.get(id_, ""), *middles.get(id_, (0, None))
            )
            for id_ in ids
        }
        self.version += 1

    def add(self, name: str, text: str, mask: np.ndarray, note: str = "") -> Label:
        """Add a result (D, H, W) bool. Where labels share voxels, the map has them under the smaller one."""
        id_ = next(i for i in range(1, MAX_LABELS + 1) if i not in self.all)
        count = int(np.count_nonzero(mask))
        merged = self.map.copy()
        smaller = [other.id for other in self.all.values() if other.voxels < count]
        mine = mask & ~np.isin(merged, smaller) if smaller else mask
        shared = [self.all[int(i)].name for i in np.unique(merged[mask]) if i]
        merged[mine] = id_
        told = f"shares voxels with {', '.join(shared)}; the smaller one is shown in front" if shared else ""
        middle = _middles(mask.view(np.uint8)).get(1, (0, None))[1]
        label = self._label(id_, name, text, count, middle)
        label = replace(label, note="; ".join(part for part in (note, told) if part))
        self.map, self.all = merged, {**self.all, id_: label}
        self.version += 1
        return label

    def on_page(self, grid: PageGrid) -> list[dict[str, Any]]:
        """Plain values for the page, by id."""
        return [
            {
                "id": label.id,
                "name": label.name,
                "text": label.text,
                "voxels": label.voxels,
                "ml": label.ml,
                "colour": hex_of(colour_of(label.id)),
                "centre": None if label.centre is None else grid.voxel_on_page(label.centre),
                "note": label.note,
            }
            for label in self.all.values()
        ]

    def _label(
        self, id_: int, name: str, text: str, voxels: int, centre: tuple[int, int, int] | None
    ) -> Label:
        return Label(id_, name, text, voxels, voxels * self._ml, centre)


def _middles(labels: np.ndarray) -> dict[int, tuple[int, tuple[int, int, int] | None]]:
    """For each value of a map (D, H, W) but 0: its voxels, and the voxel that is nearest to their mean."""
    flat = np.flatnonzero(labels)
    values = labels.reshape(-1)[flat]
    if not len(flat):
        return {}
    places = np.stack(np.unravel_index(flat, labels.shape), 1).astype(np.int32)
    counts = np.bincount(values)
    means = np.stack([np.bincount(values, places[:, axis]) for axis in range(3)], 1)
    centres = means / np.maximum(counts, 1)[:, None]
    away = ((places - centres[values]) ** 2).sum(1)
    order = np.lexsort((away, values))
    ids, first = np.unique(values[order], return_index=True)
    found: dict[int, tuple[int, tuple[int, int, int] | None]] = {}
    for id_, at in zip(ids, order[first], strict=True):
        d, h, w = (int(i) for i in places[at])
        found[int(id_)] = int(counts[id_]), (d, h, w)
    return found
