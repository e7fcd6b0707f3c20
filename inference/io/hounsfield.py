"""Hounsfield units: told by the numbers of a volume, shown in the windows of the challenge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AIR, LUNG_END, TISSUE, BONE_END = (-1100, -700), -250, (-200, 300), 3200
"""Ranges in HU: air and lung; where few voxels lie between lung and tissue; fat to contrast medium; what a
scanner of 12 bits reaches."""
RAW_OFFSET = 1024
"""Of scanners that store unsigned numbers."""
MIN_VALID, MIN_AIR, MIN_TISSUE = 0.99, 0.005, 0.02
"""Least shares of voxels, where nothing but the numbers says that a volume is CT."""
MIN_RAW, MAX_BETWEEN = 0.1, 1 / 16
"""The same of air and of tissue where the numbers are unsigned, as those of MR are, and most that may lie
between, as a share of tissue: 24 of 3545 volumes of other modalities, in five scalings, are taken for CT."""
MAX_CUT_OFF = 0.005
"""Largest share at the largest unsigned number: a window that was rescaled to 12 bits has more."""
NAMED_LOW, NAMED_HIGH = -50, 50
"""What the numbers of a volume that is said to be CT have to reach on both sides: a crop has no air."""
SAMPLES = 1_000_000


@dataclass(frozen=True)
class Window:
    """What of the Hounsfield scale is shown as 0..255."""

    name: str
    width: float
    level: float

    @property
    def ends(self) -> tuple[float, float]:
        """HU shown as 0 and as 255."""
        return self.level - self.width / 2, self.level + self.width / 2


SOFT_TISSUE = Window("soft tissue", 400, 40)
"""Medal S 3.2, BiomedParse-V 5.2; the other windows are in `prompts/ct_windows.json`."""


def hounsfield_offset(image: np.ndarray, is_ct: bool) -> int | None:
    """What was added to the Hounsfield units of a volume (D,H,W), 0 or 1024; None where it holds none.

    Finite numbers only. `is_ct`: it is said to be CT, and any plausible numbers will do; else the shares of
    air and tissue have to be those of a body in air. Where most voxels are a padding value below air, they do
    not count.
    """
    step = sampling_step(image.size)
    values = image[::step, ::step, ::step].astype(np.float32).ravel()
    low = values.min()
    if low < AIR[0]:
        values = values[values != low]
    if not len(values):
        return None
    if low < 0:
        return 0 if _is_body_in_air(values) or (is_ct and _spans_water(values)) else None
    if _share(values, values.max(), values.max()) > MAX_CUT_OFF:
        return None
    values -= RAW_OFFSET
    if is_ct:
        return RAW_OFFSET if _share(values, *TISSUE) >= MIN_RAW and values.max() > TISSUE[1] else None
    return RAW_OFFSET if _is_raw_body(values) else None


def sampling_step(voxels: int) -> int:
    """Along each axis: so that some `SAMPLES` of so many voxels are looked at."""
    return max(1, round((voxels / SAMPLES) ** (1 / 3)))


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))


def _is_body_in_air(values: np.ndarray) -> bool:
    """Whether numbers reach air, hold tissue, and leave the scale hardly anywhere."""
    valid = _share(values, AIR[0], BONE_END)
    return valid >= MIN_VALID and _share(values, *AIR) >= MIN_AIR and _share(values, *TISSUE) >= MIN_TISSUE


def _spans_water(values: np.ndarray) -> bool:
    """Whether numbers lie on both sides of water, on the scale."""
    reached = values.min() <= NAMED_LOW and values.max() >= NAMED_HIGH
    return bool(reached) and _share(values, AIR[0], BONE_END) >= MIN_VALID


def _is_raw_body(values: np.ndarray) -> bool:
    """The same of unsigned numbers less the offset: those of MR lie between air and tissue, too."""
    air, tissue = _share(values, *AIR), _share(values, *TISSUE)
    between = _share(values, AIR[1], LUNG_END)
    return _is_body_in_air(values) and min(air, tissue) >= MIN_RAW and between <= tissue * MAX_BETWEEN
