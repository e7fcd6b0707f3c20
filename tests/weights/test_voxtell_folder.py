"""VoxTell: where the files of a published folder may lie, and what its plans may say otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")

from tests.weights.made_voxtell import SIZES, WINDOW, made_plans, write_folder  # noqa: E402
from vesal.weights.convert.errors import CheckpointError  # noqa: E402
from vesal.weights.convert.voxtell_folder import find_files, read_window  # noqa: E402

MODEL, BANK = "voxtell_v1.1", "text_embeddings.npz"
PLACES: dict[str, Callable[[Path], Path]] = {
    "as published": lambda root: root / "embeddings" / MODEL,
    "in the model": lambda root: root / MODEL / "embeddings" / MODEL,
    "beside its files": lambda root: root / MODEL,
    "above the model": lambda root: root,
}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_the_bank_is_found_beside_the_model_and_above_it(tmp_path: Path, place: str, inside: bool) -> None:
    root = write_folder(tmp_path, {})
    wanted = PLACES[place](root) / BANK
    wanted.parent.mkdir(parents=True, exist_ok=True)
    (root / "embeddings" / MODEL / BANK).replace(wanted)
    found = find_files(root / MODEL if inside else root)
    assert found.bank == wanted
    assert found.checkpoint == root / MODEL / "fold_0" / "checkpoint_final.pth"


def test_all_files_may_lie_in_one_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "made", {})
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in (f"{MODEL}/plans.json", f"{MODEL}/fold_0/checkpoint_final.pth", f"embeddings/{MODEL}/{BANK}"):
        (root / name).replace(flat / Path(name).name)
    found = find_files(flat)
    assert {found.plans, found.checkpoint, found.bank} == set(flat.iterdir())


def window_of(plans: dict[str, Any], folder: Path) -> tuple[int, int, int]:
    path = folder / "plans.json"
    path.write_text(json.dumps(plans))
    return read_window(path, SIZES)


def test_one_number_stands_for_all(tmp_path: Path) -> None:
    """As the released encoder takes it."""
    plans = made_plans(kernel_sizes=3, n_conv_per_stage_decoder=1, strides=[1, 2, 2, 2])
    assert window_of(plans, tmp_path) == WINDOW


@pytest.mark.parametrize("changed", [{"kernel_sizes": 5}, {"strides": 2}, {"strides": [1, [1, 2, 2], 2, 2]}])
def test_one_number_must_be_the_right_one(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=f"`{next(iter(changed))}` is"):
        window_of(made_plans(**changed), tmp_path)


def test_what_the_released_code_does_not_read_may_say_anything(tmp_path: Path) -> None:
    """Of the architecture the arguments count."""
    plans = made_plans()
    about = plans["configurations"]["3d_fullres"]
    about["architecture"]["network_class_name"] = "another.Name"
    about["batch_size"] = plans["dataset_name"] = None
    assert window_of(plans, tmp_path) == WINDOW


@pytest.mark.parametrize("value", [[1], 0.01, "inplace"])
def test_arguments_that_are_no_object_are_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="`nonlin_kwargs` is"):
        window_of(made_plans(nonlin_kwargs=value), tmp_path)
