"""What a tokenizer reconstructs of held-out volumes: PSNR by set and degree of anisotropy, and pictures.

Every case is seen at its own degree and at every higher one, as ``crops`` makes them; a table's column is one
degree. Beside the tokenizer stand the means of its patches: what a token shows that tells one grey level.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesal.inference.io.formats import read_case
from vesal.networks.spad_vt import SpadVt, patch_dhw
from vesal.training.losses import token_entropies
from vesal.training.measure.results import markdown_table
from vesal.training.tokenizer.crops import (
    ALONE,
    own_degree,
    scaled,
    slices_together,
    thick_axis,
    thickened,
    whole_patches,
)

log = logging.getLogger("vesal")

DEPTH, PLANE = 64, 160
"""Most voxels that are looked at in the middle of a volume: along depth at degree 0, and in plane."""
BEST_DB = 99.0
"""PSNR of a part that is reconstructed without any error."""
SHOWN_SETS = 10
DPI = 80


@dataclass(frozen=True)
class Seen:
    """A case at one degree."""

    dataset: str
    case: str
    own: int
    degree: int
    psnr_db: float
    means_db: float
    """PSNR of the patches' means."""
    mean_token: float
    """Entropy in nats of the mean of its tokens."""
    token: float
    """Mean entropy in nats of a token."""


@dataclass(frozen=True)
class Picture:
    """A slice of a case and its reconstruction, (H, W) float32 0..255."""

    seen: Seen
    image: np.ndarray
    made: np.ndarray


def psnr_db(image: np.ndarray, made: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two arrays of one shape, 0..255, in dB."""
    error = float(np.mean((image.astype(np.float64) - made) ** 2))
    return min(BEST_DB, 10 * math.log10(255**2 / error)) if error else BEST_DB


def at_degrees(image: np.ndarray, spacing_dhw_mm: Sequence[float]) -> Iterator[tuple[int, np.ndarray]]:
    """The middle of a volume (D, H, W) at its own degree and all above: float32 (d, h, w), 0..255.

    Thick axis first. A degree for which there are too few slices is left out.
    """
    own, thick = own_degree(spacing_dhw_mm), thick_axis(spacing_dhw_mm)
    moved = np.moveaxis(image, thick, 0)
    for degree in range(own, ALONE + 1):
        together = slices_together(own, degree)
        depth = 1 if degree == ALONE else (DEPTH >> degree) * together
        part = middle(moved, (depth, PLANE, PLANE))
        if len(part) >= together:
            yield degree, thickened(part, together)


def middle(image: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """The middle of (D, H, W), of at most ``sides`` voxels."""
    at = []
    for n, side in zip(image.shape, sides, strict=True):
        start = max(0, (n - side) // 2)
        at.append(slice(start, start + min(n, side)))
    return image[tuple(at)]


@torch.inference_mode()
def look(model: SpadVt, part: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """A part (d, h, w) 0..255 -> its reconstruction and its patches' means, the same; and its soft tokens."""
    whole = torch.from_numpy(scaled(whole_patches(part, degree)))[None, None]
    found = model(whole, degree)
    sides = patch_dhw(degree)
    means = torch.nn.functional.avg_pool3d(whole, sides)
    for axis, side in enumerate(sides, 2):
        means = means.repeat_interleave(side, axis)
    made, blocks = (_unscaled(x, part.shape) for x in (found.image, means))
    return made, blocks, found.probabilities


def _unscaled(image: Tensor, shape: Sequence[int]) -> np.ndarray:
    d, h, w = shape
    grey: np.ndarray = ((image[0, 0, :d, :h, :w].clamp(-1, 1) + 1) * 127.5).numpy()
    return grey


def in_turns(paths: Iterable[Path]) -> list[Path]:
    """The first case of each set, then the second of each, and so on; sets are folders."""
    by_set: dict[str, list[Path]] = {}
    for path in paths:
        by_set.setdefault(path.parent.name, []).append(path)
    rounds = zip_longest(*by_set.values())
    return [path for each in rounds for path in each if path is not None]


def measure(
    model: SpadVt, paths: Iterable[Path], until_s: float = math.inf
) -> tuple[list[Seen], list[Picture]]:
    """Cases at all degrees, and a picture of the first case of each set at each of its degrees.

    From ``until_s`` of the monotonic clock on no further case is begun, but for the first.
    """
    found: list[Seen] = []
    pictures: list[Picture] = []
    known: set[str] = set()
    for path in in_turns(paths):
        if found and time.monotonic() >= until_s:
            log.warning("the hours are over: %d cases are measured", len({s.case for s in found}))
            break
        case = read_case(path)
        first = path.parent.name not in known
        known.add(path.parent.name)
        own = own_degree(case.spacing_dhw_mm)
        for degree, part in at_degrees(case.image, case.spacing_dhw_mm):
            made, blocks, tokens = look(model, part, degree)
            mean_token, token = (float(x) for x in token_entropies(tokens))
            levels = psnr_db(part, made), psnr_db(part, blocks)
            seen = Seen(path.parent.name, case.name, own, degree, *levels, mean_token, token)
            found.append(seen)
            if first:
                at = len(part) // 2
                pictures.append(Picture(seen, part[at], made[at]))
    return found, pictures


def content_of(seen: Sequence[Seen], about: dict[str, Any]) -> dict[str, Any]:
    """What ``report.json`` holds."""
    return {"what": "tokenizer", **about, "seen": [asdict(s) for s in seen]}


def table(content: dict[str, Any]) -> str:
    """PSNR in dB by set and degree, the means of patches below, and what the codebook is used for."""
    seen = [Seen(**entry) for entry in content["seen"]]
    degrees = sorted({s.degree for s in seen})
    header = ("set", "cases", *(f"degree {d}" for d in degrees))
    rows = [
        (name, str(len({s.case for s in seen if s.dataset == name})), *_row(seen, degrees, name))
        for name in sorted({s.dataset for s in seen})
    ]
    cases = str(len({s.case for s in seen}))
    rows.append(("**all**", cases, *_row(seen, degrees)))
    rows.append(("all, means of patches", cases, *_row(seen, degrees, means=True)))
    most = math.log(content["codebook"])
    sharpness = most - float(np.mean([s.token for s in seen]))
    used = float(np.mean([s.mean_token for s in seen]))
    threads = f"{content['threads']} thread{'s' * (content['threads'] != 1)}"
    return (
        markdown_table(header, rows)
        + f"\n\nMean PSNR in dB; a case counts at its own degree and at every higher one. {content['steps']} "
        f"steps in {content['seconds'] / 3600:.2f} h on {content['processor']}, {threads}; "
        f"{content['parameters'] / 1e6:.1f} M parameters, codebook of {content['codebook']}. Mean "
        f"E(KL(q, uniform)) {sharpness:.2f} of at most {most:.2f} nats (in the paper 2.79 of 6.93), entropy "
        f"of a case's mean token {used:.2f}."
    )


def _row(seen: Sequence[Seen], degrees: Sequence[int], name: str = "", means: bool = False) -> list[str]:
    """Mean PSNR of a set, or of all, at each degree; empty where there is none."""
    row = []
    for degree in degrees:
        values = [
            s.means_db if means else s.psnr_db for s in seen if s.degree == degree and name in ("", s.dataset)
        ]
        row.append(f"{np.mean(values):.1f}" if values else "")
    return row


def plot_psnr(content: dict[str, Any], path: Path) -> None:
    """PSNR against degree, a line a set, as a PNG; the same content gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seen = [Seen(**entry) for entry in content["seen"]]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = sorted({s.dataset for s in seen})
    for number, name in enumerate(["", *names]):
        degrees = sorted({s.degree for s in seen if name in ("", s.dataset)})
        values = [float(value) for value in _row(seen, degrees, name)]
        style = {"linewidth": 1.2, "linestyle": ("-", "--", ":")[number % 3]} if name else {"linewidth": 3}
        axes.plot(degrees, values, marker="o", markersize=3, label=name or "all", **style)
    degrees = sorted({s.degree for s in seen})
    blocks = [float(value) for value in _row(seen, degrees, means=True)]
    axes.plot(degrees, blocks, color="black", linestyle="-.", label="all, means of patches")
    axes.set_xlabel("degree of anisotropy")
    axes.set_ylabel("PSNR in dB")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def plot_reconstructions(pictures: Sequence[Picture], path: Path) -> None:
    """Sets in rows, degrees in columns, each a slice with its reconstruction to the right, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted({p.seen.dataset for p in pictures})[:SHOWN_SETS]
    degrees = sorted({p.seen.degree for p in pictures})
    figure = Figure(figsize=(3.2 * len(degrees), 1.9 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), len(degrees), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for picture in pictures:
        if picture.seen.dataset not in names:
            continue
        axes = grid[names.index(picture.seen.dataset), degrees.index(picture.seen.degree)]
        gap = np.full((len(picture.image), 2), 255, np.float32)
        pair = np.concatenate([picture.image, gap, picture.made], 1)
        axes.imshow(pair, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        own = ", its own" if picture.seen.degree == picture.seen.own else ""
        title = f"{picture.seen.dataset}\ndegree {picture.seen.degree}{own}: {picture.seen.psnr_db:.1f} dB"
        axes.set_title(title, fontsize=7)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
