"""The text encoder of Medal S and SAT: its recorded vectors number for number."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the encoder's definition needs torch")

from vesal.networks.mpnet_text import BIOLORD, MPNetText, TextSizes, relative_buckets, text_sizes_of  # noqa: E402

LIMIT = 1e-4


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    """The recorded encoder."""
    return shared / "fixtures/medals/text_tiny"


@pytest.fixture(scope="module")
def published(folder: Path) -> MPNetText:
    """The reduced encoder of the fixtures, read by torch: how we read it is tested with the conversion."""
    stored = torch.load(folder / "text_encoder.pth", weights_only=True)["model_state_dict"]
    tensors = {name.removeprefix("module."): value for name, value in stored.items()}
    model = MPNetText(text_sizes_of({name: tuple(value.shape) for name, value in tensors.items()}))
    left = model.load_state_dict(tensors, strict=False)
    assert not left.missing_keys
    return model.eval()


@pytest.mark.parametrize("modality", range(5))
@torch.no_grad()
def test_recorded_queries(published: MPNetText, folder: Path, modality: int) -> None:
    stored = np.load(folder / "expected.npz")
    ids, mask = torch.from_numpy(stored["batch_ids"]), torch.from_numpy(stored["batch_mask"])
    queries = published(ids, mask, torch.full((len(ids),), modality))
    assert np.abs(queries.numpy() - stored[f"proj_modality{modality}"]).max() < LIMIT


@torch.no_grad()
def test_recorded_means(published: MPNetText, folder: Path) -> None:
    """Each sentence by itself: special tokens, the longest that is read, and one that spells a padding id."""
    rows = json.loads((folder / "tokens.json").read_text())
    assert len(rows) == 49
    for row in rows:
        ids = torch.tensor([row["ids"]])
        mean = published.pooled(ids, (ids > 0).long())
        assert np.abs(mean.numpy() - np.array([row["feature"]])).max() < LIMIT, row["text"]


@torch.no_grad()
def test_padding_changes_nothing(published: MPNetText, folder: Path) -> None:
    ids = torch.tensor([json.loads((folder / "tokens.json").read_text())[0]["ids"]])
    padded = torch.nn.functional.pad(ids, (0, 7))
    zero = torch.zeros(1, dtype=torch.long)
    alone = published(ids, (ids > 0).long(), zero)
    assert torch.allclose(published(padded, (padded > 0).long(), zero), alone, atol=1e-5)


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        ours = {name: tuple(p.shape) for name, p in MPNetText(BIOLORD).named_parameters()}
    theirs = {}
    for line in (shared / "reference/text_encoder_tensors.txt").read_text().splitlines():
        if not line.startswith("#") and "OPTIONAL_BUFFER" not in line:
            name, shape, _ = line.split("\t")
            theirs[name] = tuple(int(n) for n in shape.strip("(),").split(","))
    unused = {name: shape for name, shape in theirs.items() if ".pooler." in name}
    assert {**ours, **unused} == theirs
    assert text_sizes_of(theirs) == BIOLORD


def test_near_distances_have_buckets_of_their_own() -> None:
    """T5 with 32 buckets: 0 to 7 exact, then growing; 16 more for keys after the query."""
    table = relative_buckets(200, 32)
    at = {distance: int(table[distance + 199]) for distance in (-199, -16, -8, -7, -1, 0, 1, 7, 8, 16, 199)}
    assert at == {-199: 15, -16: 10, -8: 8, -7: 7, -1: 1, 0: 0, 1: 17, 7: 23, 8: 24, 16: 26, 199: 31}


def test_sizes_need_all_tensors_that_tell_them() -> None:
    with pytest.raises(KeyError, match="word_embeddings"):
        text_sizes_of({})
    with torch.device("meta"):
        shapes = {
            n: tuple(p.shape)
            for n, p in MPNetText(TextSizes(9, 8, 24, 16, 2, 12, 32, 24, 4)).named_parameters()
        }
    assert text_sizes_of(shapes) == TextSizes(9, 8, 24, 16, 2, 12, 32, 24, 4)
