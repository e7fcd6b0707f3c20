"""Sentences, vectors made elsewhere and presence, from the call to the label map; no network is trained."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesal
from tests.inference.fakes import write_case
from tests.samples.voxtell_weights import LABELS, write_voxtell_weights
from vesal.inference.data.errors import ProfileError, TextEmbeddingsError
from vesal.inference.prompts.label_vectors import make_label_vectors, write_label_vectors
from vesal.inference.prompts.sentence_encoder import SentenceEncoder
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.choice import choose_runtime

SPACING = (3.0, 1.0, 1.0)
BRIGHT, FAINT = (slice(3, 7), slice(4, 12), slice(4, 12)), (slice(10, 12), slice(20, 24), slice(20, 24))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Something bright, and further up something that is just above the level of a liver."""
    image = np.full((16, 32, 32), 60, np.uint8)
    image[BRIGHT], image[FAINT] = 250, 95
    logit = 4 * ((95 - image.mean()) / image.std() - 1)
    assert 0.5 < logit < 2
    return image


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Sample weights with vectors of their labels."""
    folder = write_voxtell_weights(tmp_path_factory.mktemp("weights") / "made")
    encoder = SentenceEncoder(root / "weights" / "text", choose_runtime("onnxruntime", 1))
    path = folder / "label_vectors.npz"
    write_label_vectors(path, make_label_vectors(tuple(LABELS), encoder), encoder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["label_vectors"] = path.name
    manifest["files"][path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def segmented(folder: Path, image: np.ndarray, *sentences: str, **more: Any) -> vesal.Result:
    """By weights that are loaded anew."""
    model = vesal.load(folder, threads=1, runtime="onnxruntime", **more)
    return model.segment(image, SPACING, list(sentences), modality="CT")


def test_presence_is_off_as_released(weights: Path, image: np.ndarray) -> None:
    labels = segmented(weights, image, "liver").labels
    assert labels[BRIGHT].all() and labels[FAINT].all()
    assert np.count_nonzero(labels) == 4 * 64 + 2 * 16


@pytest.mark.parametrize(("logit", "stays"), [(0.0, True), (2.0, False)])
def test_slices_below_the_threshold_are_emptied(
    logit: float, stays: bool, image: np.ndarray, tmp_path: Path
) -> None:
    rules = [{"rule": "presence"}]
    labels = segmented(
        write_voxtell_weights(tmp_path / "w", presence_logit=logit, postprocess=rules), image, "liver"
    ).labels
    assert labels[BRIGHT].all()
    assert labels[FAINT].any() == stays


def test_presence_decides_between_the_sides_of_one_concept(image: np.ndarray, tmp_path: Path) -> None:
    """Both kidneys are found in the same slices; the stronger one has them, also where it is not found."""
    rows = {"left kidney": (4.0, 1.0, 0.0), "right kidney": (4.0, 1.3, 0.0)}
    for name, rules, stays in (
        ("off", [], True),
        ("on", [{"rule": "presence"}, {"rule": "slice_nms"}], False),
    ):
        more = {"presence_logit": 0.0} if rules else {}
        folder = write_voxtell_weights(tmp_path / name, postprocess=rules, **more)
        result = segmented(folder, image, *rows, text_embeddings=rows)
        assert result.mask(0)[BRIGHT].all()
        assert (result.probability(1) > 0.5).any() == stays


def test_presence_asks_for_a_rule_and_a_rule_for_presence(tmp_path: Path) -> None:
    folder = write_voxtell_weights(tmp_path / "w", presence_logit=1.0)
    with pytest.raises(ProfileError, match="presence_logit"):
        vesal.load(folder)
    folder = write_voxtell_weights(tmp_path / "v", postprocess=[{"rule": "presence"}])
    with pytest.raises(ProfileError, match="tells no presence"):
        vesal.load(folder)


def test_the_report_says_what_a_sentence_was_read_as(weights: Path, image: np.ndarray) -> None:
    asked = ["LIVER", "Hepatic parenchyma in abdominal CT", "left adrenal", "both kidneys"]
    result = segmented(weights, image, *asked)
    exact, by_name, refused, both = result.prompts
    assert exact.why.startswith("`liver` is a label of the bank")
    assert "read as `liver`" in by_name.why and by_name.asked_as == "target"
    assert not refused.covered and "the nearest are" in refused.why and "another" in refused.why
    assert "read as `left kidney`, `right kidney`" in both.why
    assert result.mask(0)[BRIGHT].all()
    assert np.array_equal(result.mask(0), result.mask(1)), "one label, run once"
    assert not result.mask(2).any()


def test_vectors_made_elsewhere_name_what_the_bank_lacks(
    weights: Path, image: np.ndarray, tmp_path: Path
) -> None:
    assert not segmented(weights, image, "sphenoid sinus").prompts[0].covered
    path = tmp_path / "own.npz"
    np.savez(path, labels=np.array(["Sphenoid Sinus"]), embeddings=np.array([LABELS["liver"]], np.float32))
    result = segmented(weights, image, "Sphenoid sinus", text_embeddings=path)
    assert result.prompts[0].why == "`sphenoid sinus` is a label of the given text embeddings"
    assert result.labels[BRIGHT].all()


def test_vectors_of_another_width_stop_the_command(weights: Path, image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    path = tmp_path / "own.npz"
    np.savez(path, labels=np.array(["liver"]), embeddings=np.ones((1, 4), np.float32))
    with pytest.raises(TextEmbeddingsError, match="have 4 numbers a label; the weights .* want 3"):
        run(Settings(tmp_path / "in", tmp_path / "out", weights=str(weights), text_embeddings=path))
    assert not (tmp_path / "out").exists()
