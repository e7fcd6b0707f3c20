"""What sentences ask for: over the whole challenge file, the labelled data, and by hand."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.prompts.parser import FoundTarget, find_target, parse_prompts
from vesal.inference.prompts.vocabulary import FILE, VocabularyError, load_vocabulary

EMPTY = np.zeros((1, 1, 1), np.uint8)
VOCABULARY = load_vocabulary()


def forbidden():
    """An encoder that must not be asked for."""
    raise AssertionError("a known term must not touch the encoder")


class FakeEncoder:
    """Knows one answer and keeps what it was asked."""

    def __init__(self, concept: str, similarity: float) -> None:
        self.answer = concept, similarity
        self.asked: list[str] = []

    def nearest(self, text: str, excluded: Collection[str] = ()) -> tuple[str, float]:
        self.asked.append(text)
        return self.answer


def found(sentence: str) -> FoundTarget:
    return find_target(sentence, VOCABULARY, forbidden)


def classes(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(dataset, class id, sentences) of a file laid out as the challenge's own."""
    for dataset, entry in json.loads(path.read_text()).items():
        for key, sentences in entry.items():
            if key != "instance_label":
                yield dataset, key, sentences


@pytest.fixture(scope="module")
def challenge(shared: Path) -> list[tuple[str, str, list[str]]]:
    return list(classes(shared / "challenge" / "CVPR25_TextSegFMData_with_class.json"))


def test_every_challenge_sentence_of_a_class_gives_the_same_target(challenge) -> None:
    assert sum(len(sentences) for _, _, sentences in challenge) == 3186
    for dataset, key, sentences in challenge:
        targets = {found(sentence).target for sentence in sentences}
        assert len(targets) == 1 and None not in targets, (dataset, key, targets)


def test_every_challenge_sentence_gives_the_target_on_record(challenge) -> None:
    """Of the parser that looked for known names alone: no rule about sentences may change one of them."""
    record = json.loads(Path(__file__).with_name("challenge_targets.json").read_text())
    for dataset, key, sentences in challenge:
        for sentence in sentences:
            result = found(sentence)
            assert (result.target, result.found_by) == (record[dataset][key], "term"), sentence


def test_different_classes_of_a_challenge_dataset_give_different_targets(challenge) -> None:
    seen: dict[tuple[str, str | None], str] = {}
    for dataset, key, sentences in challenge:
        target = found(sentences[0]).target
        assert (dataset, target) not in seen, (dataset, target, key)
        seen[dataset, target] = key


@pytest.mark.parametrize(
    ("dataset", "key", "target"),
    [
        ("CT_AMOS", "3", "left kidney"),
        ("MR_TotalSeg", "3", "left kidney"),
        ("CT_AMOS", "15", "prostate/uterus"),
        ("MR_HVSMR", "1", "left ventricle"),
        ("US_Cardiac", "1", "left ventricle"),
        ("CT_AbdomenAtlas", "7", "inferior vena cava"),
        ("CT_KidneyTumor", "1", "kidney lesion"),
        ("CT_TotalSeg_organs", "10", "left lung upper lobe"),
        ("CT_ThoracicOrgans-TCIA-LCTSC", "2", "heart"),
        ("MR_HNTS-MRG_HeadTumor", "1", "head and neck tumor"),
        ("Microscopy_urocell_Mitochondria", "1", "mitochondria"),
    ],
)
def test_challenge_classes_checked_by_hand(challenge, dataset: str, key: str, target: str) -> None:
    sentences = next(s for d, k, s in challenge if (d, k) == (dataset, key))
    assert {found(sentence).target for sentence in sentences} == {target}


def test_every_sentence_of_the_training_data_is_known(shared: Path) -> None:
    for dataset, key, sentences in classes(shared / "data" / "prompts.json"):
        targets = {found(sentence).target for sentence in sentences}
        # This one set holds two things under one class: its volumes show nuclei or whole plant cells.
        wanted = 2 if dataset == "Microscopy_Nuclei" else 1
        assert len(targets) == wanted and None not in targets, (dataset, key, targets)


@pytest.mark.slow
def test_every_stored_prompt_of_the_training_data_is_known(shared: Path) -> None:
    files = [*(shared / "data").glob("*/*/*.npz"), *(shared / "cases" / "imgs").glob("*.npz")]
    assert len(files) > 900
    for path in files:
        with np.load(path, allow_pickle=True) as stored:
            prompts = stored["text_prompts"].item()
        targets = [found(text).target for key, text in prompts.items() if key != "instance_label"]
        assert None not in targets and len(set(targets)) == len(targets), (path.name, prompts)


@pytest.mark.parametrize(
    ("sentence", "target", "kind"),
    [
        ("Myocardium", "left ventricle myocardium", "muscle"),
        ("Left ventricle cavity", "left ventricle", "heart chamber"),
        ("Left caudate", "left caudate nucleus", "structure"),
        ("Caudate nucleus", "caudate nucleus", "structure"),
        ("Vertebrae L5", "vertebra l5", "bone"),
        ("Left rib 6", "left rib 6", "bone"),
        ("Left rib 12", "left rib 12", "bone"),
        ("Portal vein and splenic vein", "portal and splenic vein", "vessel"),
        ("Portal vein", "portal vein", "vessel"),
        ("Splenic vein", "splenic vein", "vessel"),
        ("Healthy myocardium in late gadolinium enhancement MRI", "left ventricle myocardium", "muscle"),
        ("Myocardial infarction in late gadolinium enhancement MRI", "myocardial infarct", "lesion"),
        ("No-reflow area in late gadolinium enhancement MRI", "no-reflow area", "lesion"),
        ("Microvascular obstruction of the myocardium on cardiac MR", "no-reflow area", "lesion"),
        ("Soft tissue sarcoma lesion", "soft tissue sarcoma", "lesion"),
        ("Non-enhancing tumor", "non-enhancing tumor", "lesion"),
        ("Non-enhancing tumor core", "non-enhancing tumor core", "lesion"),
        ("Enhancing tissue", "enhancing tumor", "lesion"),
        ("WM hypointensities", "white matter hypointensity", "lesion"),
        ("Non-WM hypointensities", "non white matter hypointensity", "lesion"),
        ("CC mid posterior", "corpus callosum mid posterior", "structure"),
        ("Cell nuclei", "cell nucleus", "cell"),
        ("Mitral valve leaflet B", "mitral valve leaflet b", "heart chamber"),
    ],
)
def test_canonical_names(sentence: str, target: str, kind: str) -> None:
    result = found(sentence)
    assert (result.target, result.concept.kind if result.concept else "") == (target, kind)


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("LEFT KIDNEY IN CT", "left kidney"),
        ("Kidney, left, CT", "left kidney"),
        ("renal parenchyma left CT", "left kidney"),
        ("L kidney", "left kidney"),
        ("kidney (R)", "right kidney"),
        ("kidneys in CT", "kidney"),
        ("group L of the patients, kidney", "kidney"),
        ("upper lobe of the left lung", "left lung upper lobe"),
        ("Left-sided pulmonary anatomy", "left lung"),
        ("spleen next to the left kidney", "spleen"),
        ("left kidney lying beside the right adrenal gland", "left kidney"),
        ("the left atrium", "left atrium"),
    ],
)
def test_sides_belong_to_the_nearest_term(sentence: str, target: str) -> None:
    assert found(sentence).target == target


@pytest.mark.parametrize(
    "sentence", ["left kidney and right kidney", "left and right kidney", "both kidneys"]
)
def test_both_sides_give_the_thing_without_a_side_and_say_so(sentence: str) -> None:
    result = found(sentence)
    assert (result.target, result.side) == ("kidney", None)
    assert "both sides" in result.why


@pytest.mark.parametrize(
    "sentence", ["left liver", "prostate_R", "pancreas (right)", "left portal vein", "brain, left"]
)
def test_a_side_of_what_there_is_one_of_is_a_part(sentence: str) -> None:
    result = found(sentence)
    assert result.targets == () and "part of" in result.why


@pytest.mark.parametrize("sentence", ["stomach on the left", "the liver, in the right upper abdomen"])
def test_a_side_that_is_a_place_is_not_used_and_told(sentence: str) -> None:
    result = found(sentence)
    assert len(result.targets) == 1 and result.side is None
    assert "not used" in result.why


def test_two_things_in_one_prompt_are_both_asked_for() -> None:
    result = found("segment the liver and the spleen")
    assert result.target == "liver, spleen" and [t.name for t in result.targets] == ["liver", "spleen"]


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("liver tumour", "liver tumor"),
        ("a mass in the pancreas", "pancreas tumor"),
        ("renal foci, pathological", "kidney lesion"),
        ("cyst in the right kidney", "right kidney cyst"),
        ("tumor near the liver", "lesion"),
        ("lesion in the whole body", "lesion"),
        ("brain tumor segmented in brain MR", "brain tumor"),
        ("liver without tumor", "liver"),
    ],
)
def test_words_for_a_lesion_join_the_organ_that_bears_it(sentence: str, target: str) -> None:
    assert found(sentence).target == target


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("cardiac MR showing the aorta", "aorta"),
        ("mitochondria in urinary bladders", "mitochondria"),
        ("vessel in brain", "vessel"),
        ("stomach CT liver", "liver"),
        ("aorta in the urinary bladder region", "aorta"),
        ("vertebra on T1 weighted MR", "vertebra"),
        ("vertebra T1 weighted MR", "vertebra"),
        ("T1 vertebra", "vertebra t1"),
        ("oesophagus", "esophagus"),
        ("Brain Stem", "brainstem"),
        ("brain", "brain"),
        ("hepatic vein", "hepatic vein"),
        ("peritumoural oedema", "peritumoral edema"),
        ("urinary_bladder", "urinary bladder"),
    ],
)
def test_the_thing_is_told_from_its_place_and_its_neighbours(sentence: str, target: str) -> None:
    assert found(sentence).target == target


@pytest.mark.parametrize(
    "sentence", ["splenic artery", "kidney stone", "the heartland", "large artery leaving the heart"]
)
def test_part_of_a_word_or_of_another_thing_is_no_term(sentence: str) -> None:
    assert find_target(sentence, VOCABULARY).target is None


def test_an_unseen_sentence_asks_the_encoder_without_side_and_modality() -> None:
    encoder = FakeEncoder("kidney", 0.8)
    prompts, _ = parse_prompts(
        {7: "Show the left urine filter on CT"}, name="x", image=EMPTY, encoder=lambda: encoder
    )
    assert encoder.asked == ["the urine filter on"]
    assert (prompts[0].target, prompts[0].concept, prompts[0].side) == ("left kidney", "kidney", "left")
    assert (prompts[0].found_by, prompts[0].similarity, prompts[0].modality) == ("encoder", 0.8, "CT")


def test_below_the_threshold_there_is_no_target_but_a_reason() -> None:
    prompts, _ = parse_prompts(
        {1: "banana"}, name="x", image=EMPTY, encoder=lambda: FakeEncoder("colon", 0.54)
    )
    assert (prompts[0].target, prompts[0].kind, prompts[0].found_by) == (None, "", "none")
    assert "banana" in prompts[0].why and "colon" in prompts[0].why and "0.54" in prompts[0].why


def test_a_broken_encoder_costs_only_its_own_prompt() -> None:
    def broken():
        raise FileNotFoundError("encoder.onnx")

    prompts, _ = parse_prompts({1: "banana", 2: "liver"}, name="x", image=EMPTY, encoder=broken)
    assert [prompt.target for prompt in prompts] == [None, "liver"]
    assert "encoder.onnx" in prompts[0].why


def test_prompts_keep_ids_and_order_and_take_the_modality_of_the_others() -> None:
    prompts, choice = parse_prompts(
        {200: "Spleen", 3: "Liver in abdominal CT", 7: "Left kidney"},
        name="MR_x",
        image=EMPTY,
        encoder=forbidden,
    )
    assert [(prompt.id, prompt.modality) for prompt in prompts] == [(200, "CT"), (3, "CT"), (7, "CT")]
    assert (choice.modality, choice.source) == ("CT", "prompts")


def test_no_sentences_give_no_prompts() -> None:
    prompts, choice = parse_prompts({}, name="US_x", image=EMPTY)
    assert prompts == () and choice.modality == "US"


WORDS = st.sampled_from(
    [
        "left",
        "right",
        "both",
        "l",
        "kidney",
        "kidneys",
        "tumor",
        "in",
        "the",
        "MR",
        "US",
        "of",
        "T1",
        "cyst",
        "near",
    ]
)


@given(st.one_of(st.text(), st.lists(WORDS, max_size=30).map(" ".join)))
def test_no_sentence_makes_it_fail(sentence: str) -> None:
    prompts, _ = parse_prompts(
        {1: sentence}, name="x", image=EMPTY, encoder=lambda: FakeEncoder("liver", 0.1)
    )
    assert prompts[0].text == sentence
    assert {target.name for target in prompts[0].targets} <= set(VOCABULARY.targets())


def test_a_huge_sentence_is_read_to_its_256th_word() -> None:
    assert found("liver " + "word " * 100_000).target == "liver"
    assert find_target("word " * 256 + "liver", VOCABULARY).target is None


def test_every_canonical_target_reads_back_as_itself() -> None:
    for target in VOCABULARY.targets():
        assert found(target).target == target


def test_every_synonym_reads_as_its_concept() -> None:
    for term, concept in VOCABULARY.terms.items():
        result = found(term).concept
        assert result is not None and result.name == concept, term


def broken_vocabulary(tmp_path: Path, change: str, value: object) -> Path:
    data = json.loads(FILE.read_text())
    data["concepts"][0][change] = value
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("name", "kidney", "twice"),
        ("name", "Spleen", "lower case"),
        ("terms", ["hepatic"], "'hepatic' stands for"),
        ("bears", {"tumor": "spleen tumour"}, "no concept"),
        ("colour", "red", "other fields"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(
    tmp_path: Path, change: str, value: object, message: str
) -> None:
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(broken_vocabulary(tmp_path, change, value))
