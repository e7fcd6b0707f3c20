"""Sentences that deny, relate, except, or name a part, another thing or a group."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.inference.prompts.test_parser import EMPTY, FakeEncoder
from vesal.inference.planning.plan import open_sentence
from vesal.inference.prompts.parser import FoundTarget, find_target, parse_prompts
from vesal.inference.prompts.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()


def forbidden() -> FakeEncoder:
    """An encoder that must not be asked."""
    raise AssertionError("what a rule refused must not be guessed at")


def found(sentence: str) -> FoundTarget:
    return find_target(sentence, VOCABULARY, forbidden)


def names(sentence: str) -> list[str]:
    return [target.name for target in found(sentence).targets]


@pytest.mark.parametrize(
    "sentence",
    [
        "no liver",
        "not the spleen",
        "without the aorta",
        "neither liver nor spleen",
        "do not segment the stomach",
        "the liver is not visible",
        "liver absent",
        "everything except the liver",
        "anything but the spleen",
        "all but the kidneys",
        "exclude the bladder",
        "liver not needed",
        "liver unwanted",
        "liver is not of interest",
        "liver of no interest",
        "the spleen is unneeded",
    ],
)
def test_what_is_denied_is_not_segmented(sentence: str) -> None:
    result = found(sentence)
    assert result.targets == () and result.why


@pytest.mark.parametrize(
    "sentence",
    [
        "the organ above the left kidney",
        "structure next to the liver",
        "organs beside the stomach",
        "region between the liver and the spleen",
        "fat around kidney",
        "perirenal fat",
        "subhepatic space",
        "tissue adjacent to the prostate",
        "fluid within the liver",
    ],
)
def test_what_is_only_placed_is_not_the_thing_beside_it(sentence: str) -> None:
    assert found(sentence).targets == ()


@pytest.mark.parametrize(
    "sentence",
    [
        "kidney stone",
        "stone in the kidney",
        "aortic valve",
        "pulmonary embolism",
        "hepatic artery",
        "renal cortex",
        "optic disc",
        "red nucleus",
        "pulmonary edema",
        "gastric and duodenal wall",
        "parotid duct",
        "gastritis",
        "liver florb",
    ],
)
def test_a_noun_behind_a_name_is_what_is_asked_for(sentence: str) -> None:
    assert found(sentence).targets == ()


@pytest.mark.parametrize(
    "sentence",
    [
        "liver segment 4",
        "segment 4 of the liver",
        "liver (segment IV)",
        "liver, left lobe",
        "wall of the stomach",
        "head of the pancreas",
        "pancreas head",
        "right side of the liver",
        "aortic arch",
        "thoracic aorta",
        "distal esophagus",
        "left ventricle outflow tract",
        "suprarenal aorta",
        "surface of the liver",
        "liver surface",
        "cortex of the kidney",
        "liver's left lobe",
    ],
)
def test_a_part_is_not_the_whole(sentence: str) -> None:
    result = found(sentence)
    assert result.targets == () and result.found_by == "none"


@pytest.mark.parametrize(
    ("sentence", "targets"),
    [
        ("not the liver but the spleen", ["spleen"]),
        ("spleen, not the liver", ["spleen"]),
        ("nothing but the liver", ["liver"]),
        ("liver in non-contrast CT", ["liver"]),
        ("CT without contrast: the liver", ["liver"]),
        ("liver without tumor", ["liver"]),
        ("kidney sans tumor", ["kidney"]),
        ("liver excl. tumor", ["liver"]),
        ("liver w/out tumor", ["liver"]),
        ("liver - CT", ["liver"]),
        ("liver (no tumor)", ["liver"]),
        ("liver (not the spleen)", ["liver"]),
        ("liver (spleen excluded)", ["liver"]),
        ("liver (without contrast)", ["liver"]),
        ("liver (excluding vessels) and spleen", ["liver", "spleen"]),
        ("liver (excluded) and spleen", ["spleen"]),
        ("left kidney (not the right)", ["left kidney"]),
        ("kidneys (except the left)", ["right kidney"]),
        ("kidneys (left excluded)", ["right kidney"]),
        ("kidneys except the left one", ["right kidney"]),
        ("spleen next to the left kidney", ["spleen"]),
        ("fatty liver of a patient with cirrhosis", ["liver"]),
        ("look at the liver", ["liver"]),
        ("Can the liver be segmented?", ["liver"]),
        ("where is the spleen?", ["spleen"]),
        ("cavity of the left ventricle", ["left ventricle"]),
        ("non-contrast-enhancing tumor", ["non-enhancing tumor"]),
        ("contrast-enhancing tumor", ["enhancing tumor"]),
        ("liver and spleen", ["liver", "spleen"]),
        ("liver, spleen/stomach", ["liver", "spleen", "stomach"]),
        ("liver and kidney stone", ["liver"]),
    ],
)
def test_what_is_asked_for_is_found_beside_denials_relations_and_others(sentence: str, targets: list) -> None:
    assert names(sentence) == targets


@pytest.mark.parametrize(
    ("sentence", "targets"),
    [
        ("vertebrae L1 to L3", ["vertebra l1", "vertebra l2", "vertebra l3"]),
        ("T12-L2", ["vertebra t12", "vertebra l1", "vertebra l2"]),
        ("vertebrae T1 through T3", ["vertebra t1", "vertebra t2", "vertebra t3"]),
        ("left ribs 3 to 5", ["left rib 3", "left rib 4", "left rib 5"]),
        ("ribs 3 and 4", ["rib 3", "rib 4"]),
        ("T1 to T2 weighted MR of the liver", ["liver"]),
        ("basal ganglia", ["caudate nucleus", "putamen", "pallidum", "nucleus accumbens"]),
        ("ventricles of the heart", ["left ventricle", "right ventricle"]),
        ("left salivary glands", ["left parotid gland", "left submandibular gland"]),
        ("both lungs", ["lung"]),
        ("lumbar vertebrae", [f"vertebra l{n}" for n in range(1, 6)]),
    ],
)
def test_groups_and_ranges_are_their_members(sentence: str, targets: list[str]) -> None:
    assert names(sentence) == targets


def test_a_class_of_things_is_that_of_its_region_less_what_is_excepted() -> None:
    everywhere, abdomen = names("all organs"), names("abdominal organs")
    assert set(abdomen) < set(everywhere) and {"liver", "spleen", "kidney"} <= set(abdomen)
    assert (
        names("organs of the abdomen") == abdomen
        and found("abdominal organs").target == "organs of the abdomen"
    )
    assert set(abdomen) - set(names("abdominal organs except the liver")) == {"liver"}
    assert "lung" in names("all organs in the chest") and "liver" not in names("thoracic organs")
    assert set(names("bones of the pelvis")) == {"hip", "sacrum"}


@pytest.mark.parametrize(
    "words", ["excl.", "excl", "exc.", "sans", "barring the", "less the", "wo", "w/o", "w/out", "-", "\u2013"]
)
def test_a_group_loses_what_is_excepted_however_it_is_written(words: str) -> None:
    assert set(names("abdominal organs")) - set(names(f"abdominal organs {words} liver")) == {"liver"}


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ("except the liver", {"liver"}),
        ("without liver", {"liver"}),
        ("liver excluded", {"liver"}),
        ("liver and spleen excluded", {"liver", "spleen"}),
    ],
)
def test_a_group_loses_what_brackets_except(words: str, out: set[str]) -> None:
    assert set(names("abdominal organs")) - set(names(f"abdominal organs ({words})")) == out


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("LeftKidney", "left kidney"),
        ("kidney_left", "left kidney"),
        ("kidneyL", "left kidney"),
        ("leftkidney", "left kidney"),
        ("lung_upper_lobe_left", "left lung upper lobe"),
        ("LVMyocardium", "left ventricle myocardium"),
        ("rib4", "rib 4"),
        ("left_kidney.nii.gz", "left kidney"),
        ("seg_spleen", "spleen"),
        ("spleen_001", "spleen"),
        ("IVC", "inferior vena cava"),
        ("LK", "left kidney"),
        ("GB", "gallbladder"),
        ("LAA", "left atrial appendage"),
        ("WMH in FLAIR", "white matter hyperintensity"),
        ("SMA", None),
        ("hepar", "liver"),
        ("ren sinister", "left kidney"),
        ("vesica urinaria", "urinary bladder"),
        ("haemorrhage of the spleen", None),
    ],
)
def test_names_of_files_abbreviations_and_other_spellings(name: str, target: str | None) -> None:
    assert found(name).target == target


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("lver", "liver"),
        ("panceras", "pancreas"),
        ("spleeen", "spleen"),
        ("left kidny", "left kidney"),
        ("rigth kidney", "right kidney"),
        ("lung, lefft", "left lung"),
    ],
)
def test_a_typing_error_is_forgiven_and_told(
    sentence: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = found(sentence)
    assert "typing error" in caplog.text
    assert (result.target, result.found_by) == (target, "typing error")
    assert "typing error" in result.why and any(
        f"'{word}' is taken" in result.why for word in sentence.split()
    )


@pytest.mark.parametrize("sentence", ["kidny stone", "liver segmnt 4"])
def test_a_typing_error_does_not_hide_a_refusal(sentence: str) -> None:
    assert found(sentence).targets == ()


@pytest.mark.parametrize("word", ["river", "never", "drain", "ilium"])
def test_a_word_that_is_right_as_it_stands_is_no_typing_error(word: str) -> None:
    assert find_target(word, VOCABULARY).targets == ()


@pytest.mark.parametrize("sentence", ["xy", "abcd", "qq in CT", "the left of"])
def test_the_encoder_is_not_asked_for_two_to_four_letters(sentence: str) -> None:
    result = found(sentence)
    assert result.targets == () and result.why


def test_what_is_described_by_what_it_does_is_asked_for_by_its_meaning() -> None:
    encoder = FakeEncoder("aorta", 0.8)
    result = find_target("large artery leaving the heart", VOCABULARY, lambda: encoder)
    assert (result.target, result.found_by) == ("aorta", "encoder")
    assert "guess" in result.why and "0.80" in result.why


def test_a_guess_of_another_kind_than_what_is_described_is_refused() -> None:
    result = find_target("large artery leaving the heart", VOCABULARY, lambda: FakeEncoder("lung", 0.9))
    assert result.targets == () and "another kind" in result.why


@pytest.mark.parametrize(
    ("sentence", "guess"),
    [
        ("the organ that lies under the liver", "liver"),
        ("whatever is next to the liver", "liver"),
        ("the pipe next to the aorta", "aorta"),
        ("what lies behind the stomach", "stomach"),
        ("the organ which surrounds the trachea", "trachea"),
        ("inside of the liver", "liver"),
        ("that which surrounds the heart", "heart"),
        ("whatever touches the liver", "liver"),
    ],
)
def test_what_only_places_something_else_is_not_guessed(sentence: str, guess: str) -> None:
    result = find_target(sentence, VOCABULARY, lambda: FakeEncoder(guess, 0.97))
    assert result.targets == () and "where something" in result.why


def test_what_is_placed_by_one_thing_may_be_guessed_to_be_another() -> None:
    sentence = "the walnut-sized gland under the bladder"
    assert find_target(sentence, VOCABULARY, lambda: FakeEncoder("prostate", 0.97)).target == "prostate"


def test_what_is_excepted_from_a_single_target_is_told_to_stay_in_it() -> None:
    assert "left atrium is not cut out of it" in found("heart without the left atrium").why
    assert "not cut out" not in found("abdominal organs without the liver").why
    assert "not cut out" not in found("spleen, not the liver").why


@pytest.mark.parametrize(
    ("sentence", "excluded"),
    [
        ("the chamber that gets blood from the lungs", {"left ventricle", "right ventricle"}),
        ("chamber which sends blood around", {"left atrium", "right atrium"}),
        ("chamber that receives blood and pumps it", set()),
    ],
)
def test_what_a_description_contradicts_is_no_answer(sentence: str, excluded: set[str]) -> None:
    asked: list[set[str]] = []

    class Encoder(FakeEncoder):
        def nearest(self, text: str, excluded: Collection[str] = ()) -> tuple[str, float]:
            asked.append(set(excluded))
            return super().nearest(text, excluded)

    encoder = Encoder("heart", 0.1)
    find_target(sentence, VOCABULARY, lambda: encoder)
    assert asked == [excluded] and encoder.asked == [sentence]


def test_a_guess_is_logged_with_its_similarity(caplog: pytest.LogCaptureFixture) -> None:
    find_target("bean-shaped urine maker", VOCABULARY, lambda: FakeEncoder("kidney", 0.77))
    assert "kidney" in caplog.text and "0.77" in caplog.text


@pytest.mark.parametrize("sentence", ["no liver", "fat around kidney", "liver segment 4", "gibberish"])
def test_weights_with_a_text_encoder_of_their_own_get_what_was_refused_here(sentence: str) -> None:
    (prompt,), _ = parse_prompts({1: sentence}, name="CT_x", image=EMPTY)
    assert prompt.targets == ()
    (query,) = open_sentence(prompt).queries
    assert query.sentence == sentence
