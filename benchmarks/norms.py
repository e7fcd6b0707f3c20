"""How exact the norms of exported graphs are, and what they cost: `python -m benchmarks.norms`.

First a norm by itself on `--channels` x `--window`, then the same one between two convolutions that change
nothing, as it lies in a network: OpenVINO keeps channels last there, and adds up in another order. Scale
error is the largest deviation of a channel's scale from the one in float64. Seconds are the least of several
runs that take turns; those between convolutions contain them.

Then, unless `--no-networks`, the reduced networks of the fixtures on the same window, each in fp32: the
largest difference of logits from the network in float64, as a share of the largest and over torch's own
difference, and the voxels that have the class of float64. The published networks have eight times as many
channels in their first levels and the same sizes of windows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from benchmarks.converted_network import FIXTURES, Subject, subjects
from benchmarks.converted_steps import chain
from benchmarks.measure import ROOT, side_by_side
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import available_threads, processor
from vesal.weights.convert.graphs import trace
from vesal.weights.convert.norms import AxisNorm
from vesal.weights.convert.verify import class_map

RUNTIMES = ("onnxruntime", "openvino")
AXES = {2: "d", 3: "h", 4: "w"}
SEED = 0
SOME = (slice(None, None, 9), slice(None, None, 7), slice(None, None, 5))
"""Voxels that a scale is fitted to."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.norms", description=__doc__.split("\n")[0])
    parser.add_argument("--window", type=int, nargs=3, default=(192, 192, 192), help="D H W, multiples of 32")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with fixtures")
    parser.add_argument("--no-networks", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    window = " x ".join(map(str, options.window))
    print(f"{processor().name}, {options.threads} threads, window {window}, fp32\n", flush=True)
    print("| norm | run by | scale error | s |\n| --- | --- | --- | --- |")
    for convolved in (False, True):
        for row in norm_rows(options, convolved):
            print(row, flush=True)
    if options.no_networks:
        return
    print("\n| network | run by | logits off, of the largest | of torch's own | same class |")
    print("| --- | --- | --- | --- | --- |")
    for profile in FIXTURES:
        for subject in subjects(profile, options.shared, tuple(options.window)):
            for row in network_rows(f"{profile}, {subject.what}", subject, options.threads):
                print(row, flush=True)


class Between(nn.Module):
    """A module between two convolutions that change nothing."""

    def __init__(self, module: nn.Module, channels: int) -> None:
        super().__init__()
        self.module = module
        same = torch.zeros(channels, channels, 3, 3, 3)
        same[range(channels), range(channels), 1, 1, 1] = 1
        self.same = nn.Parameter(same, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, d, h, w) -> the same shape."""
        y = self.module(nn.functional.conv3d(x, self.same, padding=1))
        return nn.functional.conv3d(y, self.same, padding=1)


@torch.no_grad()
def norm_rows(options: argparse.Namespace, convolved: bool) -> list[str]:
    """A row for each form of a norm and what runs it."""
    torch.manual_seed(SEED)
    norm = nn.InstanceNorm3d(options.channels, affine=True)
    nn.init.normal_(norm.weight, 1, 0.2)
    x = made_input(options.channels, options.window)
    forms: dict[str, nn.Module] = {"InstanceNormalization": norm, "axis by axis": AxisNorm(norm)}
    if convolved:
        forms = {f"{name}, convolved": Between(form, options.channels) for name, form in forms.items()}
    runs: dict[tuple[str, str], Callable[[], np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, form in forms.items():
            path = Path(scratch) / "norm.onnx"
            example = torch.randn(1, options.channels, 4, 4, 4)
            traced = trace(form.eval(), [example], ["x"], ["y"], {"x": AXES, "y": AXES}, path)
            onnx.save(traced, str(path))
            for runtime in RUNTIMES:
                graph = choose_runtime(runtime, options.threads).load(path, "fp32")
                runs[name, runtime] = partial(lambda graph: graph({"x": x})["y"], graph)
    first = next(iter(forms))
    runs[first, "torch"] = lambda: forms[first](torch.from_numpy(x)).numpy()
    errors = [scale_error(x, run(), norm.weight.numpy()) for run in runs.values()]
    times = side_by_side(list(runs.values()), options.times)
    return [
        f"| {name} | {by} | {error:.1e} | {ms / 1e3:.3f} |"
        for (name, by), error, ms in zip(runs, errors, times, strict=True)
    ]


def made_input(channels: int, window: Sequence[int]) -> np.ndarray:
    """Noise (1, C, d, h, w) with another mean in every channel, and one that changes along the first axis."""
    x = 1.5 * np.random.default_rng(SEED).standard_normal((1, channels, *window), dtype=np.float32)
    x += np.linspace(-2, 4, channels, dtype=np.float32).reshape(1, -1, 1, 1, 1)
    x += np.linspace(-1, 1, window[0], dtype=np.float32).reshape(1, 1, -1, 1, 1)
    return x


def scale_error(x: np.ndarray, y: np.ndarray, weight: np.ndarray, epsilon: float = 1e-5) -> float:
    """Largest relative deviation of a channel's scale, from x to y (1, C, d, h, w); weight (C,)."""
    off = []
    for a, b, w in zip(x[0], y[0], weight, strict=True):
        slope, _ = np.polyfit(a[SOME].ravel().astype(np.float64), b[SOME].ravel(), 1)
        off.append(abs(slope * np.sqrt(a.var(dtype=np.float64) + epsilon) / w - 1))
    return float(max(off))


def network_rows(what: str, subject: Subject, threads: int) -> list[str]:
    """A row for torch and each runtime."""
    assert subject.exact is not None
    exact = subject.exact()
    found = {"torch": subject.network()}
    with tempfile.TemporaryDirectory() as scratch:
        steps = subject.write(Path(scratch))
        for name in RUNTIMES:
            run = chain(steps, choose_runtime(name, threads), "fp32")
            found[name] = subject.logits(run(subject.inputs))
    classes, largest = class_map(exact), np.abs(exact).max()
    off = {name: float(np.abs(logits - exact).max()) for name, logits in found.items()}
    same = {name: float((class_map(logits) == classes).mean()) for name, logits in found.items()}
    return [
        f"| {what} | {name} | {off[name] / largest:.1e} | {off[name] / off['torch']:.2f} | {same[name]:.5%} |"
        for name in found
    ]


if __name__ == "__main__":
    main()
