"""Whole runs of the published code beside the engine's: `python -m benchmarks.recorded SHARED`.

Two-stage runs of Medal S and SAT were recorded with the reduced networks of the fixtures. These are converted
and run on the same cases as published (`"published": true`, the recorded complementary blocks), then with one
difference at a time as Vesal does it by default; the table has the voxels of the final label map that differ.
With `--float64` torch runs the same networks in float64: what differs then is rounding in the recording.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from vesal.inference.api import Model
from vesal.inference.data.case import Case
from vesal.inference.engine import Engine
from vesal.inference.families.published.labels import PublishedLabels
from vesal.inference.families.query import QueryModel
from vesal.inference.geometry.views import Sides
from vesal.inference.io.formats import read_case
from vesal.inference.planning.plan import Plan
from vesal.inference.planning.profile import read_profile
from vesal.inference.planning.rules import BlockMasks
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.stages.segmentation import Segmentation
from vesal.weights.digest import sha256

QUERY = 48
"""Numbers of a query of the reduced networks."""
FILES = {
    "medal-s": {
        "stage1": "a_crop_size_64_64_32_spacing_1.5_1.5_3.0_step_1.pth",
        "stage2": "b_crop_size_64_64_64_spacing_1.0_1.0_1.0_step_1.pth",
    },
    "sat": {"model": "c_crop_size_64_64_32_spacing_1.0_1.0_3.0_step_1.pth"},
}
"""Checkpoints of the recorded runs by option; their names tell window and spacing in (h, w, d)."""
FOLDERS = {"medal-s": "medals", "sat": "sat"}
WORDS = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "<mask>",
    *"abcdefghijklmnopqrstuvwxyz",
]
"""Of a tokenizer that nothing is asked of: all sentences are in the bank."""
PUBLISHED, DEFAULT = "as published", "Vesal's default"
STEPS: Mapping[str, Mapping[str, Any]] = {
    PUBLISHED: {},
    "labels from interpolated probabilities": {"label_maker": None},
    "rounds over the blended view": {"refine_windows": False},
    "seeded blocks": {"block_masks": None},
    "overlaps to the most probable": {"label_maker": PublishedLabels(corners=True)},
}
"""By title the fields of the stage rules that are Vesal's instead of the published ones."""


@dataclass(frozen=True)
class RecordedRun:
    """One recorded run."""

    system: str
    name: str
    folder: Path

    @property
    def case(self) -> Case:
        """Its volume and sentences."""
        return read_case(self.folder / ("input.npz" if self.system == "medal-s" else f"{self.name}.npz"))

    @property
    def labels(self) -> np.ndarray:
        """(D, H, W): the final label map."""
        if self.system == "medal-s":
            return np.asarray(np.load(self.folder / "trace.npz")["final"])
        return np.asarray(np.load(self.folder / f"{self.name}_expected.npz")["segs"])

    @property
    def trace(self) -> dict[str, Any]:
        """The decisions."""
        name = "trace.json" if self.system == "medal-s" else f"{self.name}_trace.json"
        told: dict[str, Any] = json.loads((self.folder / name).read_text())
        return told

    def shows(self, step: str) -> bool:
        """Whether a step of ``STEPS`` can change anything here."""
        calls = self.trace.get("calls", ())
        refined = any(call["read"]["num_iterations"] and call["instance_label"] for call in calls)
        drawn = any(call["mask_calls"][1] > call["mask_calls"][0] for call in calls)
        needs = {
            "rounds over the blended view": refined,
            "seeded blocks": drawn,
            "overlaps to the most probable": self.system == "sat",
        }
        return needs.get(step, True)

    @property
    def masks(self) -> BlockMasks | None:
        """The complementary blocks that were drawn."""
        return RecordedMasks.of(self) if self.system == "medal-s" else None


def recorded_runs(shared: Path) -> list[RecordedRun]:
    """All recorded runs of a folder ``shared``, small ones first."""
    fixtures = shared / "fixtures"
    runs = [
        RecordedRun("medal-s", at.parent.name, at.parent) for at in fixtures.glob("medals/e2e/*/trace.json")
    ]
    runs += [RecordedRun("sat", at.name[:-11], at.parent) for at in fixtures.glob("sat/e2e/*_trace.json")]
    return sorted(runs, key=lambda run: (len(str(run.trace)), run.name))


@dataclass(frozen=True, eq=False)
class RecordedMasks:
    """The complementary blocks of a recorded run, by stage, window and round."""

    calls: Mapping[str, Mapping[str, Any]]
    """Stage -> its entry in ``trace.json``."""
    bits: Mapping[str, np.ndarray]
    """``trace.npz``."""

    @classmethod
    def of(cls, run: RecordedRun) -> RecordedMasks:
        """Those of a run of Medal S."""
        calls = {"coarse" if call["stage1"] else "fine": call for call in run.trace["calls"]}
        with np.load(run.folder / "trace.npz") as stored:
            return cls(calls, {name: stored[name] for name in stored.files if name.startswith("maskbits")})

    def __call__(self, stage: str, corner: Sides, round_: int, shape: Sides, block: int) -> np.ndarray:
        """See ``planning.rules.BlockMasks``; drawn window by window, in each round by round."""
        call = self.calls[stage]
        windows = [(at[4], at[0], at[2]) for at in call["read"]["idx"]]
        first, stop = call["mask_calls"]
        drawn = (stop - first) // len(windows)
        # A window without prompts draws none in its first round.
        number = first + windows.index(corner) * drawn + (round_ if drawn > 1 else 0)
        d, h, w = (-(-n // block) for n in shape)
        stored = np.unpackbits(self.bits[f"maskbits{number}"])[: d * h * w].reshape(h, w, d)
        mask = np.moveaxis(stored, 2, 0).astype(bool)
        for axis in range(3):
            mask = mask.repeat(block, axis)
        return mask[: shape[0], : shape[1], : shape[2]]


class Changed(QueryModel):
    """A converted network whose stage rules are changed after planning."""

    fields: Mapping[str, Any] = {}

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """As planned, with ``fields`` of every stage rule replaced."""
        plan = super().plan(*args, **kwargs)
        batches = tuple(
            replace(batch, stages=tuple(structs.replace(rule, **self.fields) for rule in batch.stages))
            for batch in plan.batches
        )
        return replace(plan, batches=batches)


def converted(shared: Path, system: str, folder: Path) -> Path:
    """Convert a system's reduced network, for all of its stages, below ``folder``; the weights folder."""
    import torch

    from vesal.networks.mpnet_text import MPNetText, TextSizes
    from vesal.weights.convert.__main__ import main as convert
    from vesal.weights.text.export import read_safetensors

    folder.mkdir(parents=True, exist_ok=True)
    tensors = read_safetensors(
        (shared / "fixtures" / FOLDERS[system] / "model_small.safetensors").read_bytes()
    )
    torch.manual_seed(0)
    encoder = MPNetText(TextSizes(len(WORDS), 300, 24, 32, 2, 12, 32, QUERY, 5))
    files = {**FILES[system], "text": "text.pth"}
    states = {option: tensors for option in FILES[system]} | {"text": encoder.state_dict()}
    arguments = [system, "--store", "fp32", "--precision", "fp32", "-o", str(folder / "out")]
    for option, name in files.items():
        state = {f"module.{key}": torch.as_tensor(value) for key, value in states[option].items()}
        torch.save({"step": 1, "model_state_dict": state}, folder / name)
        arguments += [f"--{option}", str(folder / name)]
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    if convert([*arguments, "--tokenizer", str(folder)]):
        raise SystemExit(f"the reduced network of {system} could not be converted")
    return folder / "out"


def query_of(sentence: str) -> np.ndarray:
    """(E,) float32: the query that stood for a sentence in the recorded runs."""
    return np.random.RandomState(zlib.crc32(sentence.encode())).randn(QUERY).astype(np.float32)


def as_recorded(weights: Path, sentences: Iterable[str], published: bool = True) -> None:
    """Give a converted folder the queries of some sentences, to which a modality adds nothing, and the
    switch.
    """
    names = list(dict.fromkeys(sentences))
    vectors, modality = np.stack([query_of(name) for name in names]), np.zeros((5, QUERY), np.float32)
    np.savez(weights / "bank.npz", names=np.array(names), vectors=vectors, modality_vectors=modality)
    path = weights / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["published"] = published
    manifest["files"]["bank.npz"] = {"sha256": sha256(weights / "bank.npz")}
    path.write_text(json.dumps(manifest))


def float64_runtime(weights: Path, system: str) -> Any:
    """Runs the reduced network of a folder of ``converted`` by torch in float64."""
    import torch

    from benchmarks.torch_runtime import TorchRuntime
    from vesal.weights.convert.checkpoint import Checkpoint
    from vesal.weights.convert.keymap import load
    from vesal.weights.convert.system import System
    from vesal.weights.convert.systems import SYSTEMS

    name = next(iter(FILES[system].values()))  # all stages have the same network
    of_stages = SYSTEMS[system]
    assert isinstance(of_stages, System)
    network = load(Checkpoint(weights.parent / name), of_stages.network)
    return TorchRuntime(network, torch.float64, choose_runtime("onnxruntime", None))


def segment(
    weights: Path,
    run: RecordedRun,
    masks: BlockMasks | None = None,
    changes: Mapping[str, Any] | None = None,
    runtime: Any = None,
) -> Segmentation:
    """Run a recorded case through the engine.

    Args:
        weights: converted folder.
        run: whose case.
        masks: the complementary blocks; None: the seeded ones.
        changes: fields of the stage rules.
        runtime: of the graphs; None: ONNX Runtime.
    """
    profile, runtime = read_profile(weights), runtime or choose_runtime("onnxruntime", None)
    network = Changed.open(profile, runtime, masks)
    network.fields = changes or {}
    model, case = Model(Engine(profile, runtime, network)), run.case
    prompts, _ = model.understand(case)
    return model.segment_case(case, prompts, keep_probabilities=True)


def differing(labels: np.ndarray, run: RecordedRun) -> int:
    """Voxels in which a label map (D, H, W) is not the recorded one; where objects were wanted, of all."""
    if run.case.instance and run.system == "medal-s":
        return int(np.count_nonzero((labels > 0) != (run.labels > 0)))
    return int(np.count_nonzero(labels != run.labels))


def main(arguments: list[str] | None = None) -> int:
    """Convert, run all and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.recorded", description=__doc__.split("\n")[0])
    parser.add_argument("shared", type=Path, help="folder with fixtures/medals/e2e and fixtures/sat/e2e")
    parser.add_argument("--case", action="append", help="only these")
    parser.add_argument("--float64", action="store_true", help="as published only, networks in float64")
    options = parser.parse_args(arguments)
    runs = [run for run in recorded_runs(options.shared) if not options.case or run.name in options.case]
    titles = [PUBLISHED] if options.float64 else [*STEPS, DEFAULT]
    print("| case | voxels | found | " + " | ".join(titles) + " |")
    print("|---" * (3 + len(titles)) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[str, Path] = {}
        for run in runs:
            if run.system not in folders:
                folders[run.system] = converted(options.shared, run.system, Path(scratch) / run.system)
            weights, sentences = folders[run.system], run.case.sentences.values()
            runtime = float64_runtime(weights, run.system) if options.float64 else None
            counts = []
            for title in titles:
                as_recorded(weights, sentences, published=title != DEFAULT)
                masks = None if title == DEFAULT else run.masks
                changes = STEPS.get(title)
                found = segment(weights, run, masks, changes, runtime) if run.shows(title) else None
                counts.append("" if found is None else str(differing(found.labels, run)))
            sizes = f"{run.labels.size} | {np.count_nonzero(run.labels)}"
            print(f"| {run.name} | {sizes} | {' | '.join(counts)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
