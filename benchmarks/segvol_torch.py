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

import msgspec
import numpy as np

from vesal.inference.families.segvol.fields import NetworkFacts
from vesal.inference.families.segvol.network import GraphNetwork
from vesal.inference.families.segvol.prompts import Asked
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb

if TYPE_CHECKING:
    from vesal.networks.segvol import SegVol

SEED = 29
WEIGHTS = "weights.bin"
WORDS = 12
"""Tokens of a text, marks included."""
WIDTHS = ("width", "inner", "middle", "final", "cross", "quality_inner", "vocabulary")
"""What a narrow network has less of."""


class Ours:
    """The graphs in this engine's runtime, run as the family runs them."""

    def __init__(self, folder: Path, precision: str, options: argparse.Namespace) -> None:
        facts = msgspec.json.decode((folder / "sizes.json").read_bytes(), type=NetworkFacts)
        runtime = choose_runtime(threads=options.threads)
        self.image_of = image(facts.window_dhw)[0]
        self.network = GraphNetwork(
            runtime.load(folder / "image.onnx", precision, "always"),
            runtime.load(folder / "decoder.onnx", precision),
            facts,
        )
        self.facts = facts

    def zoom_out(self, prompts: int) -> np.ndarray:
        """Logits (P, d, h, w) of all voxels, of prompts that are a box and a text of the bank."""
        boxes, texts = asked(prompts, self.facts.window_dhw, self.facts.channels)
        found = self.network.logits(
            self.network.encode(self.image_of),
            [Asked(text=text, box=box) for text, box in zip(texts, boxes, strict=True)],
        )
        return found


class Plain:
    """The network in torch, fp32, as the released code runs it: window and text encoded for each prompt."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(options.threads)
        self.network = network(options.narrow)
        state = torch.load(folder / "network.pt", mmap=True, weights_only=True)
        self.network.load_state_dict(state, assign=True)
        sizes = self.network.sizes
        self.image_of = torch.from_numpy(image(sizes.image.window_dhw))
        self.ids = torch.full((1, WORDS), sizes.text.vocabulary - 1)
        self.ids[:, :-1] = torch.arange(WORDS - 1)

    def zoom_out(self, prompts: int) -> list[np.ndarray]:
        """Logits (1, d, h, w) of all voxels for each prompt, a box and a text."""
        import torch

        from vesal.networks.point_prompts import sparse_tokens
        from vesal.networks.segvol import enlarged

        sizes = self.network.sizes.image
        boxes, _ = asked(prompts, sizes.window_dhw, sizes.width)
        found = []
        with torch.inference_mode():
            for box in torch.from_numpy(boxes):
                text, embedding = self.network.encode_text(self.ids), self.network.encode(self.image_of)
                tokens = sparse_tokens(box=box[None], with_text=True)
                low = self.network(embedding, *tokens, text, torch.ones(1)).logits
                found.append(np.asarray(enlarged(low, sizes.window_dhw)))
        return found


def image(window_dhw: tuple[int, ...]) -> np.ndarray:
    """A smooth, noisy window (1, 1, d, h, w) float32, grey levels 0..1."""
    rng = np.random.default_rng(SEED)
    d, h, w = (np.sin(np.linspace(0, 9, size)) for size in window_dhw)
    smooth = 0.5 + 0.3 * d[:, None, None] * h[:, None] * w
    return np.clip(smooth + rng.normal(0, 0.05, (1, 1, *window_dhw)), 0, 1).astype(np.float32)


def asked(prompts: int, window_dhw: tuple[int, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (P, 6) float32 and vectors of texts (P, C) float32."""
    rng = np.random.default_rng(SEED)
    corners = np.sort(rng.uniform(0, window_dhw, (prompts, 2, 3)), 1).astype(np.float32)
    return corners.reshape(prompts, 6), rng.standard_normal((prompts, width)).astype(np.float32)


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
    facts = NetworkFacts(
        window_dhw=sizes.window_dhw, channels=sizes.width, prompts_at_once=PROMPTS_AT_ONCE, precision="fp32"
    )
    graphs = segvol_graphs(made, folder / "exported.onnx")
    (folder / "exported.onnx").unlink()
    save_graphs({f"{role}.onnx": graph for role, graph in graphs.items()}, folder, WEIGHTS, True)
    (folder / "sizes.json").write_bytes(msgspec.json.encode(facts))


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
        side.zoom_out(options.prompts)
    print(json.dumps(peak_mb()))


if __name__ == "__main__":
    main()
