"""Text vectors: centred, whitened, and the same on every machine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.inference.prompts import sentence_encoder  # noqa: E402
from vesal.networks.nano import TEXT  # noqa: E402
from vesal.training.bank import build_bank, concept_vectors, is_bank_of, read_bank, whiten  # noqa: E402

NAMES = [f"target {i:03d}" for i in range(TEXT + 40)]


def encode(texts: Sequence[str]) -> np.ndarray:
    """Vectors that are nearly one: a large part that all share, a small one of their own."""
    own = [np.random.default_rng(int(t.split()[1])).normal(size=384) for t in texts]
    return (np.ones(384) * 3 + 0.3 * np.stack(own)).astype(np.float32)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosine of every pair."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def test_siblings_are_taken_apart() -> None:
    raw = encode(NAMES)
    vectors = concept_vectors(NAMES, encode)
    assert cosines(raw).min() > 0.9
    assert np.abs(cosines(np.stack(list(vectors.values())))).max() < 0.7


def test_each_vector_has_the_length_of_a_unit_gaussian() -> None:
    vectors = concept_vectors(NAMES, encode)
    assert list(vectors) == NAMES
    for v in vectors.values():
        assert v.shape == (TEXT,) and v.dtype == np.float32
        assert np.linalg.norm(v) == pytest.approx(TEXT**0.5, rel=1e-5)


def test_all_directions_carry_the_same() -> None:
    """Before the rows are scaled to one length the columns have one: after it, nearly."""
    out = whiten(np.random.default_rng(0).normal(size=(300, 8)) * np.logspace(0, 2, 8), 8)
    spread = out.std(0)
    assert spread.max() / spread.min() < 1.2


def test_rounding_noise_is_not_blown_up() -> None:
    """Two real directions and one of 1e-7: the third stays small where the others are whitened."""
    vectors = np.random.default_rng(0).normal(size=(300, 3)) * np.array([1.0, 1.0, 1e-7])
    out = whiten(vectors, 3)
    assert np.abs(out[:, 2]).max() < 0.01 < np.abs(out[:, :2]).max()


def test_the_sign_of_an_axis_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    expected = whiten(vectors, 4)
    svd = np.linalg.svd

    def mirrored(a: np.ndarray, **kwargs: bool) -> tuple[np.ndarray, ...]:
        u, s, vt = svd(a, **kwargs)
        return -u, s, -vt

    monkeypatch.setattr(np.linalg, "svd", mirrored)
    np.testing.assert_allclose(whiten(vectors, 4), expected, atol=1e-12)


def test_too_few_names_are_named() -> None:
    with pytest.raises(ValueError, match=f"{TEXT} names; whitening to {TEXT}"):
        concept_vectors(NAMES[:TEXT], encode)


def test_a_bank_that_is_there_is_read_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(sentence_encoder, "SentenceEncoder", never)
    vectors = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.savez(tmp_path / "bank.npz", names=np.array(["liver", "spleen"]), vectors=vectors)
    found = build_bank(tmp_path)
    assert list(found) == ["liver", "spleen"]
    assert found["spleen"].dtype == np.float32 and found["spleen"].tolist() == [3, 4, 5]


def test_a_new_bank_holds_every_concept_and_survives_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vesal.inference.prompts.vocabulary import load_vocabulary

    concepts = sorted(load_vocabulary().concepts)
    number = {name: f"target {i}" for i, name in enumerate(concepts)}

    class Fake:
        def __init__(self, *_: object) -> None:
            pass

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return encode([number[t] for t in texts])

    monkeypatch.setattr(sentence_encoder, "SentenceEncoder", Fake)
    made = build_bank(tmp_path)
    assert list(made) == concepts
    assert all(np.array_equal(made[n], v) for n, v in read_bank(tmp_path / "bank.npz").items())


def test_names_of_earlier_weights_keep_their_vectors_and_a_new_one_lies_apart() -> None:
    known, new = NAMES[: TEXT + 1], NAMES[TEXT + 1]
    before = concept_vectors(known, encode)
    after = concept_vectors([new, *known], encode, before)
    assert list(after) == [new, *known]
    assert all(after[name] is before[name] for name in known)
    assert np.linalg.norm(after[new]) == pytest.approx(TEXT**0.5, rel=1e-5)
    assert np.abs(cosines(np.stack(list(after.values())))).max() < 0.7


def test_what_is_whitened_over_others_lies_where_it_would_among_them() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    np.testing.assert_allclose(whiten(vectors[:3], 4, vectors), whiten(vectors, 4)[:3], atol=1e-12)


def test_another_vocabulary_is_another_bank(tmp_path: Path) -> None:
    """Whitening is over all names: a name more turns the vectors of the others."""

    def write(names: Sequence[str]) -> dict[str, np.ndarray]:
        vectors = np.stack(list(concept_vectors(names, encode).values())).astype(np.float16)
        np.savez(tmp_path / "bank.npz", names=np.array(names), vectors=vectors)
        return read_bank(tmp_path / "bank.npz")

    few = write(NAMES[: TEXT + 1])
    assert is_bank_of(tmp_path, few)
    larger = write(NAMES[: TEXT + 2])
    more = {name: larger[name] for name in few}
    write(NAMES[: TEXT + 1])
    assert not is_bank_of(tmp_path, more)
    assert not is_bank_of(tmp_path, {"liver": few[NAMES[0]]})
    assert is_bank_of(tmp_path, concept_vectors(NAMES[: TEXT + 2], encode, few)), "few, and one name more"
