"""What is tried: one input each, with a folder to write in. What is raised and is not named is a failure."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import inputs
from tests.fuzz.inputs import Rng, pick
from vesal.inference.data import errors
from vesal.inference.data.errors import VesalError

BUDGET_S = 20.0
"""Of a case that the engine runs."""


class WrongResultError(Exception):
    """What no input may lead to."""


def reader(rng: Rng, folder: Path) -> None:
    """A case file, its shape and what a user gave in it."""
    from vesal.inference.io.formats import open_case
    from vesal.inference.prompts.case_meaning import settle
    from vesal.inference.prompts.parser import parse_case

    path = folder / "a.npz"
    path.write_bytes(inputs.damaged_case(rng))
    if rng.random() < 0.2:
        path.with_suffix(".json").write_bytes(
            inputs.damaged(rng, json.dumps(inputs.prompts(rng), default=str).encode())
        )
    if rng.random() < 0.2:
        content = json.dumps(inputs.marks(rng), default=str, skipkeys=True).encode()
        path.with_suffix(".prompt.json").write_bytes(
            content if rng.random() < 0.7 else inputs.damaged(rng, content)
        )
    with open_case(path) as opened:
        shape = opened.shape
        case = opened.read()
        found = opened.read_user_prompts(case.sentences, case.image.shape, case.instance)
    if shape is None or case.image.size != np.prod(shape):
        raise WrongResultError(f"shape {shape} of a volume of {case.image.shape}")
    if found.user.mask is not None and found.user.mask.labels.shape != case.image.shape:
        raise WrongResultError(f"a mask of {found.user.mask.labels.shape}")
    case = settle(case, *parse_case(case))
    if case.image.dtype != np.uint8 or not case.image.flags.c_contiguous:
        raise WrongResultError(f"an image of {case.image.dtype}")


def prompts(rng: Rng, folder: Path) -> None:
    """JSON files, pickles and sentences."""
    from vesal.inference.io.plain_pickle import load_plain
    from vesal.inference.io.prompt_files import parse_prompts, read_prompts_file
    from vesal.inference.prompts.parser import parse_prompts as understand

    kind = rng.random()
    if kind < 0.3:
        understand(
            {1: inputs.sentence(rng), 2: inputs.sentence(rng)}, name="a", image=np.zeros((2, 2, 2), np.uint8)
        )
    elif kind < 0.6:
        parse_prompts(load_plain(inputs.pickled(rng)), "a", "a")
    else:
        content = inputs.prompts(rng)
        if rng.random() < 0.3:
            content = {name: inputs.prompts(rng) for name in ("CT_a", "MR", inputs.sentence(rng))}
        text = json.dumps(content, default=str, skipkeys=True).encode()
        path = folder / "p.json"
        path.write_bytes(text if rng.random() < 0.5 else inputs.damaged(rng, text))
        read_prompts_file(path, "CT_a_1", by_name=bool(rng.random() < 0.3))


def engine(rng: Rng, folder: Path) -> None:
    """Whole runs of volumes of odd shapes: an output and a report, whatever comes."""
    from vesal.inference.runner.run import ALL_GOOD, FELL_BACK, run
    from vesal.inference.runner.settings import Settings

    source, out = folder / "in", folder / "out"
    source.mkdir()
    out.mkdir()
    sides = inputs.shape(rng)
    image = inputs.volume(rng, sides, pick(rng, ("u1", "u1", "i2", "f4")))
    text = {
        "1": pick(rng, ("liver in CT", "cell in microscopy")),
        "2": inputs.sentence(rng),
        "instance_label": pick(rng, (0, 1)),
    }
    arrays = {
        "imgs": image,
        "spacing": rng.choice([0.01, 0.5, 1, 3, 40], 3),
        "text_prompts": np.array(text, object),
    }
    if rng.random() < 0.3:
        arrays["prev_pred"] = rng.integers(0, 3, sides, np.uint8)
    np.savez(source / "a.npz", **arrays)
    report = folder / "report.json"
    code = run(Settings(source, out, report=report, seconds=BUDGET_S, verbosity=-1), lambda _: _model())
    with np.load(out / "a.npz") as archive:
        labels = archive["segs"]
    if code not in (ALL_GOOD, FELL_BACK) or labels.shape != sides or labels.dtype.kind != "u":
        raise WrongResultError(f"exit {code}, labels {labels.dtype} of {labels.shape} for {sides}")
    told = json.loads(report.read_text(encoding="utf-8"))["cases"][0]
    name = (told["error"] or "").split(":")[0]
    if name and not hasattr(errors, name):
        raise WrongResultError(f"{told['error']} for {image.dtype} of {sides}")
    if told["seconds"] > BUDGET_S:
        raise WrongResultError(f"{told['seconds']} s of {BUDGET_S}")


@cache
def _model() -> Any:
    """A network with known answers, in small windows, so that odd shapes are cut."""
    from tests.inference.fake_models import make_model

    model = make_model()
    model.engine.__dict__["text_encoder"] = _Encoder()
    return model


class _Encoder:
    """Finds every sentence to be somewhat near to a spleen."""

    def nearest(self, text: str, excluded: Collection[str] = ()) -> tuple[str, float]:
        """See `prompts.sentence_encoder`."""
        return "spleen", 0.5 + len(text) % 4 / 10


def converter(rng: Rng, folder: Path) -> None:
    """Published checkpoints."""
    from vesal.weights.convert.checkpoint import Checkpoint

    path = folder / "a.pth"
    content = _checkpoint(int(rng.integers(3)))
    change = pick(rng, (inputs.damaged, inputs.with_damaged_member))
    path.write_bytes(change(rng, content))
    opened = Checkpoint(path)
    for name in opened.tensors:
        opened.read(name)


@cache
def _checkpoint(number: int) -> bytes:
    import torch

    generator = torch.Generator().manual_seed(number)
    state = {
        f"{'_orig_mod.' * number}{n}.weight": torch.randn(5, 7 + n, generator=generator) for n in range(4)
    }
    out = io.BytesIO()
    torch.save({"step": 3, "model_state_dict": state} if number else state, out)
    return out.getvalue()


TARGETS: dict[str, Callable[[Rng, Path], None]] = {
    "reader": reader,
    "prompts": prompts,
    "engine": engine,
    "converter": converter,
}
"""By name. Each may raise a VesalError."""
NAMED = VesalError
