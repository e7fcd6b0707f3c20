"""What `benchmarks.voxtell` sets beside each other: a random network in torch, and its graphs.

As a command it is a process of that benchmark: `make` writes network and graphs, `peak` tells the memory that
our way takes, `torch-peak` that of the plain way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.runtime.openvino import IN_TURNS

if TYPE_CHECKING:
    from vesal.networks.voxtell import VoxTell

SEED = 34
WEIGHTS = "weights.bin"
LEAST_WIDTH = 8
"""Of anything in a narrow network."""


class Ours:
    """The graphs in this engine's runtime: the window once, one prompt after the other."""

    def __init__(self, folder: Path, precision: str, options: argparse.Namespace) -> None:
        runtime = choose_runtime(options.runtime, options.threads)
        facts = json.loads((folder / "sizes.json").read_text())
        self.image, self.text = image(facts["window"]), facts["text"]
        self.graphs = {
            role: runtime.load(folder / f"{role}.onnx", "fp32" if role == "text" else precision, IN_TURNS)
            for role in ("window", "text", "prompt")
        }
        self.first: Callable[[], object] = self.decoder
        """the decoder of one prompt as released, once it is loaded"""
        self.memory: dict[str, np.ndarray] = {}
        self.queries: np.ndarray = self.graphs["text"]({"text": texts(1, self.text)})["queries"]

    def window(self, prompts: int) -> list[np.ndarray]:
        """Logits (1, d, h, w) of all voxels for each prompt."""
        self.queries = self.graphs["text"]({"text": texts(prompts, self.text)})["queries"]
        self.memory = {}  # of the window before
        self.memory = self.graphs["window"]({"image": self.image})
        return [self.decoder(n) for n in range(prompts)]

    def decoder(self, number: int = 0) -> np.ndarray:
        """Logits (1, d, h, w) of one prompt more, of the last window."""
        asked = {**self.memory, "queries": self.queries[:, number : number + 1]}
        return self.graphs["prompt"](asked)["logits"]

    def load_first(self, folder: Path, precision: str, options: argparse.Namespace) -> None:
        """Read the decoder as released, for ``first``."""
        runtime = choose_runtime(options.runtime, options.threads)
        graph = runtime.load(folder / "decoder.onnx", precision, "always")
        rng = np.random.default_rng(SEED)
        features = json.loads((folder / "sizes.json").read_text())["features"]
        side = self.image.shape[2]
        levels = {
            f"level_{n}": rng.standard_normal((1, count, *(side // 2**n,) * 3), np.float32)
            for n, count in enumerate(features)
        }
        memory = {name: self.memory[name] for name in self.memory if name.startswith(("key_", "value_"))}
        self.first = lambda: graph({**levels, **memory, "queries": self.queries[:, :1]})


class Plain:
    """The network in torch, fp32, as the released code runs it: all of the decoder for each prompt."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(options.threads)
        facts = json.loads((folder / "sizes.json").read_text())
        self.network = network(options.narrow, facts["window"])
        state = torch.load(folder / "network.pt", mmap=True, weights_only=True)
        self.network.load_state_dict(state, assign=True)
        self.image, self.text = torch.from_numpy(image(facts["window"])), facts["text"]

    def window(self, prompts: int) -> np.ndarray:
        """Logits (1, N, d, h, w) of all voxels."""
        import torch

        with torch.inference_mode():
            logits: np.ndarray = self.network(self.image, torch.from_numpy(texts(prompts, self.text))).numpy()
        return logits


def image(window: int) -> np.ndarray:
    """A smooth, noisy window (1, 1, d, h, w) float32, about of mean 0 and deviation 1."""
    rng = np.random.default_rng(SEED)
    wave = np.sin(np.linspace(0, 9, window))
    smooth = 2 * wave[:, None, None] * wave[:, None] * wave
    return (smooth + rng.normal(0, 0.5, (1, 1, window, window, window))).astype(np.float32)


def texts(prompts: int, width: int) -> np.ndarray:
    """Text embeddings (1, P, T) float32."""
    return np.random.default_rng(SEED).standard_normal((1, prompts, width)).astype(np.float32)


def network(narrow: int, window: int) -> VoxTell:
    """A network of the full size, or with all widths divided by ``narrow``, for windows of ``window``^3."""
    from vesal.networks.voxtell import VOXTELL, random_network

    def thinner(width: int) -> int:
        return max(width // narrow, LEAST_WIDTH)

    known = VOXTELL
    sizes = replace(
        known,
        features=tuple(map(thinner, known.features)),
        maps=thinner(known.maps),
        width=thinner(known.width),
        inner=thinner(known.inner),
        text=thinner(known.text),
        text_inner=thinner(known.text_inner),
        head_inner=thinner(known.head_inner),
        tokens=(window // known.token_stride) ** 3,
    )
    return random_network(sizes, SEED)


def make(folder: Path, narrow: int, window: int) -> None:
    """Write a random network and its graphs, stored in fp16."""
    import torch

    from benchmarks.voxtell_decoder import decoder_graph
    from vesal.weights.convert.graphs import save_graphs
    from vesal.weights.convert.voxtell_graphs import LINEAR, each_graph

    folder.mkdir(parents=True, exist_ok=True)
    made = network(narrow, window)
    torch.save(made.state_dict(), folder / "network.pt")
    traced = each_graph(made, (window, window, window), folder / "exported.onnx")
    save_graphs(((f"{role}.onnx", graph) for role, graph in traced), folder, WEIGHTS, True, LINEAR)
    decoder = {"decoder.onnx": decoder_graph(made, (window, window, window), folder / "exported.onnx")}
    save_graphs(decoder, folder, "decoder.bin", True, LINEAR)
    (folder / "exported.onnx").unlink()
    (folder / "sizes.json").write_text(
        json.dumps({"window": window, "text": made.sizes.text, "features": made.sizes.features})
    )


def main() -> None:
    """One step of the benchmark, in this process alone."""
    parser = argparse.ArgumentParser("python -m benchmarks.voxtell_torch", description=__doc__)
    parser.add_argument("what", choices=("make", "peak", "torch-peak"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision", nargs="?", default="fp32")
    parser.add_argument("prompts", nargs="?", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1)
    parser.add_argument("--window", type=int, default=192)
    parser.add_argument("--runtime", default="openvino")
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.narrow, options.window)
        return
    is_ours = options.what == "peak"
    side = Ours(options.folder, options.precision, options) if is_ours else Plain(options.folder, options)
    side.window(options.prompts)
    print(json.dumps(peak_mb()))


if __name__ == "__main__":
    main()
