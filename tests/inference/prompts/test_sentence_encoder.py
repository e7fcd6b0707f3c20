"""The text encoder through the container's runtimes, its bank, and what it makes of unseen sentences."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.prompts.parser import LEAST_SIMILARITY, find_target
from vesal.inference.prompts.sentence_encoder import (
    BANK,
    GRAPH,
    MANIFEST,
    TOKENIZER,
    Bank,
    SentenceEncoder,
    bank_texts,
    check_text_weights,
    read_bank,
    write_bank,
)
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import choose_runtime

VOCABULARY = load_vocabulary()
# First values of the published model's vector of this sentence, as its authors' own library prints them.
PUBLISHED = "This is an example sentence"
PUBLISHED_START = (0.0677, 0.0635, 0.0487, 0.0793)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def encoder(request: pytest.FixtureRequest, root: Path) -> SentenceEncoder:
    pytest.importorskip(request.param)
    return SentenceEncoder(root / "weights" / "text", choose_runtime(request.param, 1))


@pytest.fixture(scope="module")
def unseen() -> dict:
    return json.loads(Path(__file__).with_name("unseen_sentences.json").read_text())


class FakeRuntime:
    """Its graph counts calls and gives each sentence the vector (number of tokens, 0, 0, ...)."""

    def __init__(self) -> None:
        self.loaded = 0
        self.batches: list[int] = []

    def load(self, path: Path, precision: str | None = None):
        self.loaded += 1

        def graph(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert inputs["input_ids"].dtype == inputs["attention_mask"].dtype == np.int64
            self.batches.append(len(inputs["input_ids"]))
            vectors = np.zeros((len(inputs["input_ids"]), 384), np.float32)
            vectors[:, 0] = inputs["attention_mask"].sum(1)
            return {"embedding": vectors}

        return graph


def test_vectors_have_unit_length_and_start_as_published(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode([PUBLISHED, "liver"])
    assert vectors.shape == (2, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0, :4], PUBLISHED_START, atol=0.01)


def test_a_sentence_does_not_depend_on_its_batch(encoder: SentenceEncoder) -> None:
    long = "a far longer sentence that pads every other one in its batch to its own number of tokens"
    alone = encoder.encode(["liver"])[0]
    assert float(alone @ encoder.encode(["liver", long])[0]) > 0.999


def test_the_bank_holds_what_the_encoder_gives(encoder: SentenceEncoder) -> None:
    texts = ["left kidney", "spleen", "vertebra t12", "gallbladder", "peritumoral edema"]
    cosine = (encoder.encode(texts) * np.stack([encoder.vector(text) for text in texts])).sum(1)
    assert cosine.min() > 0.995


def test_unseen_sentences_find_their_concept_and_nonsense_does_not(
    encoder: SentenceEncoder, unseen: dict
) -> None:
    answers = {text: find_target(text, VOCABULARY, lambda: encoder) for text in unseen["meant"]}
    guessed = {text: answer for text, answer in answers.items() if answer.found_by == "encoder"}
    right = sum(
        a.concept is not None and a.concept.name == unseen["meant"][text] for text, a in guessed.items()
    )
    answered = sum(
        find_target(text, VOCABULARY, lambda: encoder).concept is not None for text in unseen["nonsense"]
    )
    # Measured with ONNX Runtime: 17 right of 19 that are guessed, none of 64 of the nonsense.
    assert len(unseen["meant"]) >= 80 and len(unseen["nonsense"]) == 64
    assert right >= 16 and len(guessed) - right <= 3 and answered <= 1


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("the organ that stores bile", "gallbladder"),
        ("large artery leaving the heart", "aorta"),
        ("the left gland making tears", "left lacrimal gland"),
        ("respiratory organ on the right, MRI", "right lung"),
        ("banana", None),
        ("the weather today", None),
    ],
)
def test_sentences_without_a_known_term(encoder: SentenceEncoder, sentence: str, target: str | None) -> None:
    result = find_target(sentence, VOCABULARY, lambda: encoder)
    assert result.target == target
    assert result.similarity is not None and (result.similarity >= LEAST_SIMILARITY) == (target is not None)


@pytest.mark.parametrize("text", ["", "x " * 2000, "\ud800", "\x00", "肝臓"])
def test_any_text_can_be_encoded(encoder: SentenceEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()
    assert encoder.tokens([text])[0].shape[1] <= 256


def test_nothing_is_loaded_before_it_is_needed_and_the_bank_needs_no_graph(
    root: Path, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    SentenceEncoder(tmp_path / "absent", runtime)
    assert SentenceEncoder(root / "weights" / "text", runtime).vector("liver").shape == (384,)
    assert runtime.loaded == 0


def test_long_lists_go_in_batches_and_the_graph_is_loaded_once(root: Path) -> None:
    runtime = FakeRuntime()
    encoder = SentenceEncoder(root / "weights" / "text", runtime)
    assert encoder.encode(["liver"] * 70).shape == (70, 384)
    assert (runtime.batches, runtime.loaded) == ([32, 32, 6], 1)


def test_no_texts_give_no_vectors(root: Path) -> None:
    assert SentenceEncoder(root / "weights" / "text", FakeRuntime()).encode([]).shape == (0, 384)


def test_nearest_passes_over_texts_with_a_side(root: Path) -> None:
    encoder = SentenceEncoder(root / "weights" / "text", FakeRuntime())
    vectors = np.zeros((2, 384), np.float32)
    # The fake graph answers with the first axis: the text with a side would be nearest.
    vectors[0, 0], vectors[1, :2] = 1.0, (0.6, 0.8)
    encoder.__dict__["bank"] = Bank(("left kidney", "renal"), ("", "kidney"), vectors)
    concept, similarity = encoder.nearest("anything")
    assert concept == "kidney" and similarity == pytest.approx(0.6)


def test_a_bank_comes_back_as_written(tmp_path: Path) -> None:
    vectors = np.eye(2, 384, dtype=np.float32)
    write_bank(tmp_path / "bank.npz", {"left kidney": "", "renal": "kidney"}, vectors)
    bank = read_bank(tmp_path / "bank.npz")
    assert (bank.texts, bank.concepts) == (("left kidney", "renal"), ("", "kidney"))
    np.testing.assert_array_equal(bank.vectors, vectors)
    assert bank.rows["renal"] == 1 and bank.answers.tolist() == [False, True]


def test_a_bank_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one row for each text"):
        write_bank(tmp_path / "bank.npz", {"renal": "kidney"}, np.zeros((2, 384), np.float32))


def test_every_target_stands_in_the_bank_and_only_plain_ones_answer() -> None:
    texts = bank_texts(VOCABULARY)
    assert set(VOCABULARY.targets()) <= set(texts)
    assert (texts["left kidney"], texts["kidney"], texts["renal"]) == ("", "kidney", "kidney")


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """The text encoder's folder, to be damaged."""
    return Path(shutil.copytree(root / "weights" / "text", tmp_path / "text"))


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER, BANK])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_named(copied: Path, name: str, damage: str) -> None:
    data = (copied / name).read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    (copied / name).write_bytes(data[:20000] if damage == "cut" else flipped)
    with pytest.raises(ProfileError, match=f"{name} has sha256 .*changed or cut"):
        SentenceEncoder(copied, FakeRuntime()).nearest("liver")


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER, BANK, MANIFEST])
def test_a_missing_file_is_named_before_anything_is_run(copied: Path, name: str) -> None:
    check_text_weights(copied)
    (copied / name).unlink()
    with pytest.raises(ProfileError, match=f"{name}.*Install Vesal again"):
        check_text_weights(copied)


def test_a_bank_that_is_none_is_an_error_that_prompts_survive(tmp_path: Path) -> None:
    (tmp_path / BANK).write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"bank\.npz"):
        read_bank(tmp_path / BANK)
