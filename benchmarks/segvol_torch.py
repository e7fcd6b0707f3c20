"""What `benchmarks.segvol` sets beside each other: a random network in torch, and its graphs.

As a command it is a process of that benchmark: `make` writes network and graphs, `peak` tells the memory that
our way takes, `torch-peak` that of the plain way.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb

if TYPE_CHECKING:
    from vesal.networks.segvol import SegVol

SEED = 29
WEIGHTS = "weights.bin"
WIDTHS = ("width", "inner", "middle", "final", "cross", "quality_inner", "vocabulary")
"""What a narrow network has less of."""


class Ours:
    """The graphs in this engine's runtime."""

    def __init__(self, folder: Path, precision: str, options: argparse.Namespace) -> None:
        settings = json.loads((folder / "sizes.json").read_text())
        self.window, self.width = tuple(settings["window_dhw"]), settings["width"]
        self.at_once = settings["prompts_at_once"]
        runtime = choose_runtime(threads=options.threads)
        # Every window has one shape, and so has every group of prompts but the last.
        self.image = runtime.load(folder / "image.onnx", precision, "always")
        self.decoder = runtime.load(folder / "decoder.onnx", precision, True)

    def window_of(self, prompts: int) -> list[np.ndarray]:
        """One window from its image to the logits (n, d, h, w) of each group of prompts: text and box."""
        embedding = self.image({"image": image(self.window)})["embedding"]
        given = asked(prompts, self.window, self.width)
        found = []
        for first in range(0, prompts, self.at_once):
            some = {name: array[first : first + self.at_once] for name, array in given.items()}
            found.append(self.decoder({"embedding": embedding, **some})["logits"])
        return found


class Plain:
    """The network in torch, fp32, as the released code runs it: the window is encoded for each prompt."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(options.threads)
        self.network = network(options.narrow)
        self.network.load_state_dict(
            torch.load(folder / "network.pt", mmap=True, weights_only=True), assign=True
        )

    def window_of(self, prompts: int) -> list[np.ndarray]:
        """One window from its image to the logits (1, d, h, w) of each prompt; texts are encoded before."""
        import torch

        sizes = self.network.sizes.image
        given = asked(prompts, sizes.window_dhw, sizes.width)
        found = []
        with torch.inference_mode():
            for number in range(prompts):
                embedding = self.network.encode(torch.from_numpy(image(sizes.window_dhw)))
                some = [torch.from_numpy(array[number : number + 1]) for array in given.values()]
                found.append(np.asarray(self.network(embedding, *some).logits))
        return found


def image(window_dhw: tuple[int, ...]) -> np.ndarray:
    """A smooth, noisy window (1, 1, d, h, w) float32, grey levels 0..1."""
    rng = np.random.default_rng(SEED)
    d, h, w = (np.sin(np.linspace(0, 9, size)) for size in window_dhw)
    smooth = 0.5 + 0.3 * d[:, None, None] * h[:, None] * w
    return np.clip(smooth + rng.normal(0, 0.05, (1, 1, *window_dhw)), 0, 1).astype(np.float32)


def asked(prompts: int, window_dhw: tuple[int, ...], width: int) -> dict[str, np.ndarray]:
    """A box and a text for each prompt, as the decoder takes them."""
    rng = np.random.default_rng(SEED)
    corners = np.sort(rng.uniform(0, window_dhw, (prompts, 2, 3)), 1).astype(np.float32)
    return {
        "coordinates": np.concatenate([corners, np.zeros_like(corners[:, :1])], 1),
        "kinds": np.tile(np.array([2, 3, 4]), (prompts, 1)),
        "text": rng.standard_normal((prompts, width)).astype(np.float32),
        "with_text": np.ones(prompts, np.float32),
    }


def network(narrow: int) -> SegVol:
    """A network of the full size, or with all widths divided by ``narrow``."""
    from vesal.networks.segvol import SEGVOL, SegVolSizes, random_network

    def thinner(part: Any) -> Any:
        return replace(
            part, **{name: getattr(part, name) // narrow for name in WIDTHS if hasattr(part, name)}
        )

    sizes = SegVolSizes(thinner(SEGVOL.image), thinner(SEGVOL.text), thinner(SEGVOL.decoder))
    return random_network(sizes, SEED)


def make(folder: Path, narrow: int) -> None:
    """Write a random network and its graphs, stored in fp16."""
    import torch

    from vesal.weights.convert.graphs import save_graphs
    from vesal.weights.convert.segvol_graphs import PROMPTS_AT_ONCE, segvol_graphs

    folder.mkdir(parents=True, exist_ok=True)
    made = network(narrow)
    torch.save(made.state_dict(), folder / "network.pt")
    sizes = made.sizes.image
    told = {"window_dhw": sizes.window_dhw, "width": sizes.width, "prompts_at_once": PROMPTS_AT_ONCE}
    (folder / "sizes.json").write_text(json.dumps(told))
    graphs = segvol_graphs(made, folder / "exported.onnx")
    (folder / "exported.onnx").unlink()
    save_graphs({f"{role}.onnx": graph for role, graph in graphs.items()}, folder, WEIGHTS, True)


def main() -> None:
    """One step of the benchmark, in this process alone."""
    parser = argparse.ArgumentParser("python -m benchmarks.segvol_torch", description=__doc__)
    parser.add_argument("what", choices=("make", "peak", "torch-peak"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision", nargs="?", default="fp32")
    parser.add_argument("prompts", nargs="?", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1)
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.narrow)
        return
    is_ours = options.what == "peak"
    side = Ours(options.folder, options.precision, options) if is_ours else Plain(options.folder, options)
    for _ in range(2):
        side.window_of(options.prompts)
    print(json.dumps(peak_mb()))


if __name__ == "__main__":
    main()
