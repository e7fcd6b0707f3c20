"""What `benchmarks.biomedparse_v` sets beside each other: a random network in torch, and its graphs.

As a command it is a process of that benchmark: `make` writes network and graphs, `peak` tells the memory that
our way takes.
"""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.families.biomedparse.draws import draw_inputs
from vesal.inference.families.biomedparse.fields import BiomedParseFields
from vesal.inference.families.biomedparse.network import equal_groups
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb

if TYPE_CHECKING:
    from vesal.networks.biomedparse_v import BiomedParseV

SEED = 28
WORDS = 16
"""Of a prompt, padding of its group included."""
WEIGHTS = "weights.bin"
PAIRS: int = inspect.signature(BiomedParseFields).parameters["pairs"].default
"""Prompts that the family decodes at once, one slice at a time."""


class Ours:
    """The graphs in this engine's runtime."""

    def __init__(self, folder: Path, precision: str, options: argparse.Namespace) -> None:
        self.image_of = image(options.side)
        runtime = choose_runtime(threads=options.threads)
        # As the family loads them.
        shapes: dict[str, bool | str] = {"image": "always", "text": True, "decoder": True}
        self.graphs = {
            role: runtime.load(folder / f"{role}.onnx", precision, one_shape)
            for role, one_shape in shapes.items()
        }
        settings = json.loads((folder / "sizes.json").read_text())
        self.layers, self.heads, self.width = (settings[name] for name in ("layers", "heads", "width"))

    def slice(self, prompts: int) -> np.ndarray:
        """A slice from its image to the masks (P, S, h, w) of so many prompts, draws included."""
        memory = self.graphs["image"]({"image": self.image_of})
        tokens = [memory[f"key_{level}"].shape[1] for level in range(3)]
        found = []
        for rows, known in equal_groups(prompts, PAIRS):
            sentences = [f"organ {number}" for number in rows]
            draws = draw_inputs(b"case", sentences, [7], tokens, self.layers, self.heads)
            given = {**memory, "tokens": words(prompts, self.width)[:, list(rows)], **draws}
            found.append(self.graphs["decoder"](given)["mask"][known:])
        return np.concatenate(found)

    def text(self, prompts: int) -> np.ndarray:
        """Sentences to words (P, L, C)."""
        return self.graphs["text"]({"input_ids": ids(prompts)})["tokens"]


class Plain:
    """The network in torch, fp32, as the released code runs it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(options.threads)
        self.network = network(options.narrow)
        self.network.load_state_dict(torch.load(folder / "network.pt", mmap=True, weights_only=True))
        self.image_of = torch.from_numpy(image(options.side))

    def slice(self, prompts: int) -> np.ndarray:
        """A slice from its image to the masks (S, P, h, w) of so many prompts."""
        import torch

        from vesal.networks.boltzmann import masked_chance, reset_rows

        heads = self.network.sizes.decoder.heads

        def masking(number: int, logits: torch.Tensor) -> torch.Tensor:
            # The released code repeats the chances over the heads, and draws for each of them.
            chance = masked_chance(logits, number)[:, None].expand(-1, heads, -1, -1)
            return reset_rows(torch.rand_like(chance) < chance)

        with torch.inference_mode():
            given = torch.from_numpy(words(prompts, self.network.sizes.decoder.width))
            found = self.network(self.image_of, given, masking)
            return np.asarray(found.masks)

    def text(self, prompts: int) -> np.ndarray:
        """Sentences to words (P, L, C)."""
        import torch

        with torch.inference_mode():
            return np.asarray(self.network.encode_text(torch.from_numpy(ids(prompts))))


def image(side: int) -> np.ndarray:
    """A smooth, noisy packed slice (1, 3, side, side) float32, grey levels 0..255."""
    rng = np.random.default_rng(SEED)
    line = np.sin(np.linspace(0, 20, side))
    smooth = 127 + 60 * line[:, None] * line
    return np.clip(smooth + rng.normal(0, 10, (1, 3, side, side)), 0, 255).astype(np.float32)


@cache
def words(prompts: int, width: int) -> np.ndarray:
    """Words (L, P, C) float32."""
    return np.random.default_rng(SEED).standard_normal((WORDS, prompts, width)).astype(np.float32)


def ids(prompts: int) -> np.ndarray:
    """Token ids (P, 77) int64."""
    return np.random.default_rng(SEED).integers(0, 400, (prompts, 77))


def network(narrow: int) -> BiomedParseV:
    """A network of the full size, or with all widths divided by ``narrow``; without weights of its own."""
    import torch

    from vesal.networks.biomedparse_v import BIOMEDPARSE_V, BiomedParseV

    full = BIOMEDPARSE_V
    sizes = replace(
        full,
        backbone=replace(full.backbone, width=full.backbone.width // narrow),
        pixel=replace(
            full.pixel,
            inputs=tuple(width // narrow for width in full.pixel.inputs),
            width=full.pixel.width // narrow,
            masks=full.pixel.masks // narrow,
            feedforward=full.pixel.feedforward // narrow,
        ),
        decoder=replace(
            full.decoder, width=full.decoder.width // narrow, feedforward=full.decoder.feedforward // narrow
        ),
        text=replace(
            full.text,
            vocabulary=full.text.vocabulary // narrow,
            width=full.text.width // narrow,
            inner=full.text.inner // narrow,
        ),
    )
    torch.manual_seed(SEED)
    made = BiomedParseV(sizes).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "gamma" in name:
                parameter.fill_(0.1)  # as after training: blocks that change something
    return made


def make(folder: Path, narrow: int) -> None:
    """Write a random network and its graphs, stored in fp16."""
    import torch

    from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs
    from vesal.weights.convert.graphs import save_graphs

    folder.mkdir(parents=True, exist_ok=True)
    made = network(narrow)
    torch.save(made.state_dict(), folder / "network.pt")
    decoder = made.sizes.decoder
    told = {"layers": decoder.layers, "heads": decoder.heads, "width": decoder.width}
    (folder / "sizes.json").write_text(json.dumps(told))
    graphs = biomedparse_graphs(made, folder / "exported.onnx")
    (folder / "exported.onnx").unlink()
    save_graphs({f"{role}.onnx": graph for role, graph in graphs.items()}, folder, WEIGHTS, True)


def main() -> None:
    """One step of the benchmark, in this process alone."""
    parser = argparse.ArgumentParser("python -m benchmarks.biomedparse_v_torch", description=__doc__)
    parser.add_argument("what", choices=("make", "peak"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision", nargs="?", default="fp32")
    parser.add_argument("prompts", nargs="?", type=int, default=1)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1)
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.narrow)
        return
    ours = Ours(options.folder, options.precision, options)
    ours.text(options.prompts)
    del ours.graphs["text"]  # as the family does: words are made once a case
    for _ in range(2):
        ours.slice(options.prompts)
    print(json.dumps(peak_mb()))


if __name__ == "__main__":
    main()
