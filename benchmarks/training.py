"""Seconds of learning one view, beside torch's own choice of kernels: `python -m benchmarks.training`.

Forward and backward of the default network and of the narrower one that its training begins with, one thread,
in the precision of this processor. In bf16 both ways are the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.measure import side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.networks import mixed
from vesal.networks.nano import TEXT, WIDTHS, Nano, Widths
from vesal.training.loop import processor_precision

NARROW: Widths = (24, 48, 96, 128)
VIEWS = ((0, (32, 32, 48)), (0, (48, 48, 48)), (0, (48, 64, 64)), (2, (12, 128, 128)))
"""Degrees of anisotropy and voxels: what a run from nothing begins with, and whole views."""
TARGETS = 4


def main(arguments: list[str] | None = None) -> int:
    """Make the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    title = f"Learning one view, {processor_precision()}"
    rows = [row for widths in (NARROW, WIDTHS) for row in make_rows(widths, options.times)]
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def make_rows(widths: Widths, times: int) -> list[Row]:
    """One network on every view."""
    torch.manual_seed(0)
    # torch's stubs do not know this way to call it.
    model = Nano(widths).train().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    rows = []
    for degree, shape in VIEWS:
        learn = learning(model, degree, shape)

        def as_torch_likes(learn: Callable[[], None] = learn) -> None:
            with patch.object(mixed, "FP32_SMALL", 0):
                learn()

        learn()
        ours, theirs = (ms / 1e3 for ms in side_by_side([learn, as_torch_likes], times))
        what = f"{'-'.join(map(str, widths))} channels, {'x'.join(map(str, shape))} voxels, degree {degree}"
        rows.append(Row(what, ours, "s", theirs, "small convolutions by torch's own kernel"))
    return rows


def learning(model: Nano, degree: int, shape: tuple[int, int, int]) -> Callable[[], None]:
    """Forward and backward of a made view."""
    image = torch.randn(1, 2, *shape).contiguous(memory_format=torch.channels_last_3d)
    prompt, text = torch.rand(1, TARGETS, *shape), torch.randn(1, TARGETS, TEXT)
    none = torch.zeros(1, TARGETS, dtype=torch.long)
    precision = processor_precision()

    def learn() -> None:
        model.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits, presence = model(image, prompt, text, none, none, degree)
        (logits.square().mean() + presence.square().mean()).backward()

    return learn


if __name__ == "__main__":
    sys.exit(main())
