"""What VoxTell is asked for, from the sentence to its vector; the sentence encoder is the real one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import make_profile
from vesal.inference.data.errors import ProfileError, TextEmbeddingsError
from vesal.inference.data.prompt import Prompt
from vesal.inference.families.voxtell.text import VoxTellText, check_text
from vesal.inference.planning.plan import Understood
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.label_vectors import make_label_vectors, write_label_vectors
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.prompts.sentence_encoder import SentenceEncoder
from vesal.inference.prompts.text_bank import TextBank, text_embeddings, write_text_bank
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import Runtime, choose_runtime

LABELS = (
    "liver", "left kidney", "right kidney", "right adrenal gland", "kidney tumor", "kidney lesion",
    "c7 vertebra", "deltoid muscle", "left deltoid muscle", "popliteal artery", "popliteal vein",
    "ménière-like übung (non-ascii)", "hemorrhage in the basal ganglia",
)  # fmt: skip
FIELDS = SimpleNamespace(label_vectors="label_vectors.npz", min_similarity=0.85)

Understand = Callable[[str], Understood]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return choose_runtime("onnxruntime", 1)


@pytest.fixture(scope="module")
def encoder(root: Path, runtime: Runtime) -> SentenceEncoder:
    return SentenceEncoder(root / "weights" / "text", runtime)


def made_profile(folder: Path, labels: tuple[str, ...], encoder: SentenceEncoder) -> Profile:
    """A folder with a bank; row i holds i + 1."""
    rows = np.repeat(np.arange(1, len(labels) + 1, dtype=np.float16)[:, None], 4, 1)
    write_text_bank(folder / "bank.npz", TextBank(labels, rows))
    write_label_vectors(folder / "label_vectors.npz", make_label_vectors(labels, encoder), encoder)
    files = ("bank.npz", "label_vectors.npz")
    return replace(make_profile(), name="made", folder=folder, bank=folder / "bank.npz", files=files)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory, encoder: SentenceEncoder) -> Profile:
    return made_profile(tmp_path_factory.mktemp("voxtell"), LABELS, encoder)


def prompt_of(sentence: str, encoder: SentenceEncoder) -> Prompt:
    """As the engine understands it, in CT."""
    image = np.zeros((2, 2, 2), np.uint8)
    (prompt,), _ = parse_prompts(
        {1: sentence}, name="case", image=image, encoder=lambda: encoder, modality="CT"
    )
    return prompt


@pytest.fixture(scope="module")
def text(profile: Profile, runtime: Runtime) -> VoxTellText:
    return VoxTellText(profile, FIELDS, runtime)


@pytest.fixture(scope="module")
def understand(text: VoxTellText, encoder: SentenceEncoder) -> Understand:
    return lambda sentence: text.understands(prompt_of(sentence, encoder))


@pytest.mark.parametrize(
    ("sentence", "label"),
    [
        ("Liver", "liver"),
        ("MÉNIÈRE-like Übung (non-ASCII)", "ménière-like übung (non-ascii)"),
        ("  left   kidney. ", "left kidney"),
        ("popliteal vein", "popliteal vein"),
    ],
)
def test_a_label_is_asked_as_it_stands(understand: Understand, sentence: str, label: str) -> None:
    found = understand(sentence)
    assert [query.name for query in found.queries] == [label]
    assert found.why == f"`{label}` is a label of the bank"


@pytest.mark.parametrize(
    ("sentence", "labels"),
    [
        ("Show the hepatic parenchyma in this CT", ["liver"]),
        ("Left renal structures in abdominal CT", ["left kidney"]),
        ("both kidneys", ["left kidney", "right kidney"]),
        ("the seventh cervical vertebra", ["c7 vertebra"]),
        ("renal tumors on CT", ["kidney tumor"]),
        ("liver and right kidney", ["liver", "right kidney"]),
        ("kidney without tumor", ["left kidney", "right kidney"]),
    ],
)
def test_targets_of_the_vocabulary_are_asked_by_name(
    understand: Understand, sentence: str, labels: list[str]
) -> None:
    found = understand(sentence)
    assert [query.name for query in found.queries] == labels
    assert all(query.concept is not None and not query.sentence for query in found.queries)
    assert f"read as `{labels[0]}`" in found.why


def test_one_label_is_one_query_however_a_sentence_came_to_it(understand: Understand) -> None:
    """Else the engine would run it twice, and the two would compete for its voxels."""
    for sentences in (
        ("left kidney", "Left renal parenchyma"),
        ("liver", "hepatic"),
        ("deltoid muscle", "Delineate the muscle deltoid in the CT"),
    ):
        one, other = (understand(sentence).queries for sentence in sentences)
        assert one == other and one
    left, _ = understand("both kidneys").queries
    assert (left,) == understand("LEFT KIDNEY").queries


def test_sides_are_of_the_queries_so_that_rules_can_compare_them(understand: Understand) -> None:
    assert [(q.concept, q.side) for q in understand("both kidneys").queries] == [
        ("kidney", "left"),
        ("kidney", "right"),
    ]


def test_a_near_label_is_told_with_its_similarity(
    understand: Understand, encoder: SentenceEncoder, text: VoxTellText
) -> None:
    found = understand("Delineate the muscle deltoid in the CT")
    assert [query.sentence for query in found.queries] == ["deltoid muscle"]
    cosine = float(np.prod([encoder.encode([t])[0] for t in ("muscle deltoid", "deltoid muscle")], 0).sum())
    assert found.why == f"read as `deltoid muscle` (similarity {cosine:.2f})"
    assert cosine >= 0.85
    assert text.encode(found.queries).text.tolist() == [[8.0] * 4]


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("left adrenal", "`right adrenal gland` (0.85, another side)"),
        ("the right deltoid muscle", "`left deltoid muscle` (0.90, another side)"),
        ("the c6 vertebra", "another number"),
        ("nerve in the popliteal fossa", "similarity of 0.85 is wanted"),
        ("everything but the deltoid muscle", "says what is not wanted"),
        ("fat around the liver", "`liver`"),
        ("a sentence about the weather", "the nearest are"),
    ],
)
def test_what_no_label_answers_is_refused_with_the_nearest(
    understand: Understand, sentence: str, why: str
) -> None:
    found = understand(sentence)
    assert found.queries == ()
    assert "the bank of made has no label of it" in found.why
    assert why.split(" (")[0] in found.why
    assert why.split(", ")[-1] in found.why


def test_a_guess_at_a_target_is_held_to_the_same_threshold(
    profile: Profile, runtime: Runtime, encoder: SentenceEncoder
) -> None:
    prompt = prompt_of("organs that clean the blood and make urine", encoder)
    assert prompt.found_by == "encoder" and prompt.similarity is not None
    for least, names in (
        (prompt.similarity - 0.01, ["left kidney", "right kidney"]),
        (prompt.similarity + 0.01, []),
    ):
        fields = SimpleNamespace(label_vectors="label_vectors.npz", min_similarity=least)
        found = VoxTellText(profile, fields, runtime).understands(prompt)
        assert [query.name for query in found.queries] == names
        assert f"cosine {prompt.similarity:.2f}" in found.why


def test_no_side_and_no_level_is_ever_another(
    encoder: SentenceEncoder, runtime: Runtime, tmp_path: Path
) -> None:
    """All targets of the vocabulary with a side or a number, where the bank has but the other one."""
    concepts = [concept for concept in load_vocabulary().concepts.values() if concept.target]
    sided = [concept.name for concept in concepts if concept.sided]
    numbered = [c.name for c in concepts if not c.sided and any(letter.isdigit() for letter in c.name)]
    assert len(sided) > 50 and len(numbered) > 20
    labels = (*(f"right {name}" for name in sided), *numbered[::2])
    made = VoxTellText(made_profile(tmp_path, labels, encoder), FIELDS, runtime)
    asked = [f"the left {name} in this scan" for name in sided] + [f"{name} on CT" for name in numbered[1::2]]
    taken = {text: found for text in asked if (found := made.understands(prompt_of(text, encoder)).queries)}
    assert taken == {}
    for label in labels:
        assert [query.name for query in made.understands(prompt_of(f"a {label}", encoder)).queries] == [label]


def test_without_vectors_of_labels_it_is_told(profile: Profile, encoder: SentenceEncoder) -> None:
    bare = SimpleNamespace(label_vectors=None, min_similarity=0.85)
    found = VoxTellText(profile, bare, encoder._runtime).understands(prompt_of("muscle deltoid", encoder))
    assert found.queries == ()
    assert "no vectors of their labels" in found.why


def test_an_encoder_that_fails_costs_its_prompt_alone(profile: Profile, encoder: SentenceEncoder) -> None:
    def load(*_: Any) -> Any:
        raise RuntimeError("no encoder here")

    failing: Any = SimpleNamespace(load=load)
    text = VoxTellText(profile, FIELDS, failing)
    found = text.understands(replace(prompt_of("muscle deltoid", encoder), similarity=None))
    assert found.queries == ()
    assert "no encoder here" in found.why
    assert text.understands(prompt_of("liver", encoder)).queries


def test_vectors_of_the_user_go_before_the_bank(
    profile: Profile, runtime: Runtime, encoder: SentenceEncoder
) -> None:
    own = text_embeddings({"Liver": [7.0, 7, 7, 7], "sternocleidomastoid": [9.0, 9, 9, 9]})
    text = VoxTellText(replace(profile, text_embeddings=own), FIELDS, runtime)
    found = text.understands(prompt_of("liver", encoder))
    assert found.why == "`liver` is a label of the given text embeddings"
    assert text.encode(found.queries).text.tolist() == [[7.0] * 4]
    assert text.encode(text.understands(prompt_of("hepatic", encoder)).queries).text[0, 0] == 7
    near = text.understands(prompt_of("The Sternocleidomastoids in CT", encoder))
    assert text.encode(near.queries).text[0, 0] == 9
    assert "read as `sternocleidomastoid`" in near.why


def test_vectors_that_do_not_fit_are_refused_before_anything_is_read(profile: Profile) -> None:
    check_text(profile, 4)
    check_text(replace(profile, text_embeddings=text_embeddings({"a": [1.0] * 4})), 4)
    with pytest.raises(TextEmbeddingsError, match="3 numbers a label; the weights made want 4"):
        check_text(replace(profile, text_embeddings=text_embeddings({"a": [1.0] * 3})), 4)
    with pytest.raises(ProfileError, match="has 4 numbers a label; the network takes 20"):
        check_text(profile, 20)
    with pytest.raises(ProfileError, match="bank"):
        check_text(replace(profile, bank=None), 4)


def test_parts_of_the_queries_are_in_their_order(text: VoxTellText, understand: Understand) -> None:
    found = text.encode(understand("both kidneys").queries)
    assert found.text.dtype == np.float32
    assert found.part([1, 0]).text[:, 0].tolist() == [3, 2]
