"""Recorded runs of SegVol's public code, and a network that answers as the recorded stand-in did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.families.segvol.fields import Graphs, NetworkFacts, SegVolFields
from vesal.inference.families.segvol.preprocess import Grey, Seen
from vesal.inference.families.segvol.prompts import Asked
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule

FOLDER = "fixtures/segvol"
WINDOW = (16, 64, 96)
FIELDS = SegVolFields(
    Graphs("image.onnx", "text.onnx", "decoder.onnx"), "tokenizer.json", NetworkFacts(WINDOW, channels=1)
)
STAGES = (
    StageRule(2**17, name="zoom-out", role="locate"),
    StageRule(2**17, name="zoom-in", role="refine", overlap=0.5),
)
PROFILE = Profile(
    name="recorded",
    folder=Path("nowhere"),
    family="segvol",
    licence="none",
    bank=None,
    stages=STAGES,
    postprocess=(),
    overrides=(),
    targets=(),
    hybrid="off",
)


@dataclass(frozen=True)
class Run:
    """One recorded case: `VOLUME_PREDICTOR_KIND`."""

    name: str
    calls: Sequence[dict[str, Any]]
    roi: tuple[int, ...]
    """First and last of each axis; the last may be the length itself."""

    @property
    def volume(self) -> str:
        """`A`, `B` or `C`."""
        return self.name.split("_")[0]

    @property
    def predictor(self) -> str:
        """`fake`, or `net` for the reduced network."""
        return self.name.split("_")[1]

    @property
    def asks(self) -> set[str]:
        """Of text, box and point."""
        return set(self.name.split("_")[2:])


def read_runs(shared: Path, predictor: str) -> list[Run]:
    """All recorded runs of a predictor."""
    stored = json.loads((shared / FOLDER / "zoom_calls.json").read_text())
    runs = [Run(name, one["calls"], tuple(one["roi"])) for name, one in stored.items()]
    return [run for run in runs if run.predictor == predictor]


def read_volumes(shared: Path) -> dict[str, np.ndarray]:
    """All recorded arrays of the zoom; those that are kept back are not there."""
    with np.load(shared / FOLDER / "zoom.npz") as stored:
        return {name: stored[name] for name in stored.files}


def as_it_is(volume: np.ndarray) -> Seen:
    """Recorded volumes are grey levels already, and were not cut."""
    d, h, w = volume.shape
    return Seen(Grey(0.0, 1.0, 0.0, 1.0), (0, 0, 0), (d, h, w))


@dataclass
class Call:
    """What the network was asked once."""

    image: np.ndarray
    asked: Asked


@dataclass
class RecordedPredictor:
    """12 (image - 0.62) + 0.002 of all of a box + 0.0005 of all of the points + 0.1 for each letter of the
    text, which is `liver`.
    """

    letters: int = 5
    encodings: int = 0
    calls: list[Call] = field(default_factory=list)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The image itself."""
        self.encodings += 1
        return image

    def logits(self, encoded: np.ndarray, asked: Sequence[Asked]) -> np.ndarray:
        """(N, d, h, w)."""
        self.calls += [Call(encoded[0], each) for each in asked]
        return np.stack([12 * (encoded[0] - np.float32(0.62)) + np.float32(self._more(a)) for a in asked])

    def _more(self, asked: Asked) -> float:
        more = 0.0 if asked.text is None else 0.1 * self.letters
        if asked.box is not None:
            more += 0.002 * float(asked.box.sum())
        if asked.points is not None:
            more += 0.0005 * float(asked.points.sum())
        return more
