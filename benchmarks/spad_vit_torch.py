"""What `benchmarks.spad_vit` sets beside each other: random networks in torch, and their graphs.

As a command it is a process of that benchmark: `make` writes graphs, `thick` and `isotropic` tell the peak
memory of a volume, `thick-least` and `isotropic-least` that of the smallest one that the same network takes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb

if TYPE_CHECKING:
    from vesal.networks.spad_vit import SpadVit

SEED = 31
VOLUMES = {0: (80, 160, 160), 4: (5, 160, 160)}
"""Voxels by degree of anisotropy: the crop of the pre-training, and what is left of it of thick slices."""
LEAST = {0: (32, 32, 32), 4: (2, 32, 32)}
PROMPTS = 1


class Ours:
    """The graph of one degree in this engine's runtime."""

    def __init__(
        self, folder: Path, network: str, degree: int, precision: str, options: argparse.Namespace
    ) -> None:
        runtime = choose_runtime(threads=options.threads)
        self.network, self.degree = network, degree
        self.graph = runtime.load(folder / network / f"degree{degree}.onnx", precision, "always")

    def run(self) -> dict[str, np.ndarray]:
        """Outputs of the graph for the volume of its degree."""
        return self.graph(self._inputs(volume(VOLUMES[self.degree])))

    def run_made_isotropic(self) -> dict[str, np.ndarray]:
        """The same of the five thick slices, of which isotropic voxels are made first."""
        return self.graph(self._inputs(isotropic(volume(VOLUMES[4]), VOLUMES[0][0])))

    def run_least(self) -> dict[str, np.ndarray]:
        """The same of two patches along each axis."""
        return self.graph(self._inputs(volume(LEAST[self.degree])))

    def _inputs(self, grey: np.ndarray) -> dict[str, np.ndarray]:
        """What a network takes, of a grey volume (1, 1, D, H, W)."""
        if self.network == "backbone":
            return {"image": grey}
        rng = np.random.default_rng(SEED)
        codes = {name: np.zeros((1, PROMPTS), np.int64) for name in ("side", "modality")}
        return {
            "image": np.repeat(grey, 2, 1),
            "prompt": np.zeros((1, PROMPTS, *grey.shape[2:]), np.float32),
            "text": rng.standard_normal((1, PROMPTS, text_width())).astype(np.float32),
            **codes,
        }


class Plain:
    """The backbone in torch, fp32, three channels."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(options.threads)
        self.network = backbone(options.narrow)

    def run(self, degree: int) -> np.ndarray:
        """Normed tokens (1, 1 + S, width) of the volume of a degree."""
        import torch

        from vesal.networks.spad import Anisotropy
        from vesal.weights.convert.spad_vit_graphs import normalised

        grey = torch.from_numpy(volume(VOLUMES[degree]))
        with torch.inference_mode():
            tokens: np.ndarray = self.network(normalised(grey, 3), Anisotropy(degree)).numpy()
        return tokens


def text_width() -> int:
    """Numbers of a text vector of the prompted network."""
    from vesal.networks.nano import TEXT

    return TEXT


def volume(shape: tuple[int, int, int]) -> np.ndarray:
    """A smooth, noisy grey volume (1, 1, D, H, W) float32, 0..1."""
    rng = np.random.default_rng(SEED)
    d, h, w = (np.sin(np.linspace(0, 9, size)) for size in shape)
    smooth = 0.5 + 0.3 * d[:, None, None] * h[:, None] * w
    return np.clip(smooth + rng.normal(0, 0.05, (1, 1, *shape)), 0, 1).astype(np.float32)


def isotropic(grey: np.ndarray, depth: int) -> np.ndarray:
    """A volume (1, 1, D, H, W) with ``depth`` slices, by linear interpolation between centres."""
    slices = grey.shape[2]
    at = np.clip((np.arange(depth) + 0.5) * slices / depth - 0.5, 0, slices - 1)
    low = np.minimum(at.astype(int), max(slices - 2, 0))
    share = (at - low).astype(np.float32)[:, None, None]
    below, above = grey[:, :, low], grey[:, :, np.minimum(low + 1, slices - 1)]
    return np.ascontiguousarray(below + (above - below) * share)


def backbone(narrow: int) -> SpadVit:
    """SPAD-ViT-B, or with all widths divided by ``narrow``."""
    from vesal.networks.spad_vit import SPAD_VIT_B, random_vit

    known = SPAD_VIT_B
    heads = max(2, known.heads // narrow)
    sizes = replace(
        known, width=known.width // known.heads * heads, inner=known.inner * heads // known.heads, heads=heads
    )
    return random_vit(sizes, SEED)


def make(folder: Path, narrow: int) -> None:
    """Write the graphs of both networks, stored in fp16."""
    import torch

    from vesal.networks.spad_prompted import HIGHEST_DEGREE, SpadPrompted
    from vesal.training.export import write_graphs
    from vesal.weights.convert.graphs import save_graphs
    from vesal.weights.convert.spad_vit_graphs import backbone_graphs

    (folder / "backbone").mkdir(parents=True, exist_ok=True)
    graphs = backbone_graphs(backbone(narrow), folder / "traced")
    (folder / "traced").unlink()
    save_graphs(graphs, folder / "backbone", "weights.bin", True)
    torch.manual_seed(SEED)
    write_graphs(SpadPrompted().eval(), folder / "prompted", HIGHEST_DEGREE)
    (folder / "made").touch()


def main() -> None:
    """One step of the benchmark, in this process alone."""
    parser = argparse.ArgumentParser("python -m benchmarks.spad_vit_torch", description=__doc__)
    parser.add_argument(
        "what",
        choices=("make", *(f"{a}{b}" for a in ("thick", "isotropic") for b in ("", "-least"))),
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision", nargs="?", default="fp32")
    parser.add_argument("network", nargs="?", default="backbone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1)
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.narrow)
        return
    kind, _, least = options.what.partition("-")
    is_thick = kind == "thick"
    side = Ours(options.folder, options.network, 4 if is_thick else 0, options.precision, options)
    run = side.run_least if least else side.run if is_thick else side.run_made_isotropic
    for _ in range(2):
        run()
    print(json.dumps(peak_mb()))


if __name__ == "__main__":
    main()
