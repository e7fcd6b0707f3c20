"""Which slices of a volume a picture shows, and which way up."""

from dataclasses import dataclass

import numpy as np

from vesal.demo.cases import DemoCase

OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
PLANES = dict.fromkeys("LR", "sagittal") | dict.fromkeys("SI", "axial") | dict.fromkeys("AP", "coronal")
# A radiologist sees the head or the front on top, and the patient's left on the right.
UPWARDS, RIGHTWARDS = "SA", "LP"


@dataclass(frozen=True)
class View:
    """One slice, `index` along `axis` of (D,H,W), and how its plane is turned for display.

    `rows` and `columns` are the axes shown downwards and rightwards, turned round where `flip_rows` and
    `flip_columns` say so; `width` and `height` are in the unit of the spacing.
    """

    axis: int
    index: int
    rows: int
    columns: int
    flip_rows: bool
    flip_columns: bool
    width: float
    height: float
    title: str
    directions: tuple[str, str, str] | None

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top for matplotlib."""
        return (0, self.width, 0, self.height)

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """Return the slice of a (D,H,W) array as it is to be shown: row 0 on top."""
        plane = np.take(volume, self.index, axis=self.axis)
        if self.rows > self.columns:
            plane = plane.T
        return plane[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def letters(self) -> list[tuple[float, float, str]]:
        """Return position (0..1) and letter of the sides of the body; empty where there is no body."""
        if self.directions is None:
            return []
        right = _end(self.directions[self.columns], self.flip_columns)
        down = _end(self.directions[self.rows], self.flip_rows)
        left, up = OPPOSITE[right], OPPOSITE[down]
        return [(0.04, 0.5, left), (0.96, 0.5, right), (0.5, 0.96, up), (0.5, 0.04, down)]


def make_views(demo: DemoCase) -> list[View]:
    """Return one view an axis: of the middle half of the reference, the slice that shows the most of it."""
    return [_view(demo, axis) for axis in range(3)]


def _view(demo: DemoCase, axis: int) -> View:
    rows, columns = (other for other in range(3) if other != axis)
    index = _fullest_middle_slice(demo.truth, axis)
    title, flip_rows, flip_columns = f"slice {index} of axis {'DHW'[axis]}", False, False
    if demo.directions is not None:
        if _is_upright(demo.directions[columns], demo.directions[rows]):
            rows, columns = columns, rows
        flip_rows = demo.directions[rows] in UPWARDS
        flip_columns = demo.directions[columns] not in RIGHTWARDS
        title = f"{PLANES[demo.directions[axis]]}, {title}"
    sizes = [n * step for n, step in zip(demo.truth.shape, demo.spacing_dhw_mm, strict=True)]
    return View(
        axis=axis,
        index=index,
        rows=rows,
        columns=columns,
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        width=sizes[columns],
        height=sizes[rows],
        title=title,
        directions=demo.directions,
    )


def _fullest_middle_slice(truth: np.ndarray, axis: int) -> int:
    """Return where along `axis`, in the middle half of the labelled slices, most voxels have a label."""
    counts = np.count_nonzero(truth, axis=tuple(other for other in range(3) if other != axis))
    labelled = np.flatnonzero(counts)
    if labelled.size == 0:
        return truth.shape[axis] // 2
    quarter = (labelled[-1] - labelled[0] + 1) // 4
    first, last = labelled[0] + quarter, labelled[-1] - quarter
    return int(first + np.argmax(counts[first : last + 1]))


def _is_upright(first: str, second: str) -> bool:
    """Say whether the axis `first` is to be shown vertically rather than `second`."""
    order = ("SI", "AP", "LR")
    ranks = [next(i for i, pair in enumerate(order) if side in pair) for side in (first, second)]
    return ranks[0] < ranks[1]


def _end(direction: str, flipped: bool) -> str:
    return OPPOSITE[direction] if flipped else direction
