"""Prompts out of dicts and JSON files: what is accepted, and the named error for each thing that is not."""

import json
from typing import Any

import pytest

from vesal.inference.data.errors import (
    InstanceLabelError,
    NoPromptsError,
    PromptError,
    PromptFileError,
    PromptIdError,
    PromptTextError,
)
from vesal.inference.io.prompt_files import (
    MAX_TOLD,
    find_prompts_file,
    parse_prompts,
    parse_prompts_dict,
    read_prompts_file,
)
from vesal.inference.io.prompt_text import parse_prompts_text

CHALLENGE = {
    "CT_TotalSeg": {"1": ["wrong"], "instance_label": 0},
    "CT_TotalSeg_organs": {"3": ["Liver", "Liver in CT"], "1": ["Spleen"], "instance_label": 0},
    "MR_Lesion": {"1": ["Lesion", "A lesion"], "instance_label": 1},
}


def saved(folder, content, name="prompts.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_ids_sentences_and_order():
    prompts = parse_prompts_dict({"200": " Liver ", 7: "Spleen", "03": "Aorta", "instance_label": 1}, "x")
    assert list(prompts.sentences.items()) == [(200, "Liver"), (7, "Spleen"), (3, "Aorta")]
    assert prompts.instance is True and prompts.notes == ()


def test_largest_id():
    assert list(parse_prompts_dict({"65535": "a", "instance_label": 0}, "x").sentences) == [65535]


BAD_IDS = ["one", "1.5", 1.5, "", "1_0", "+1", "\u0661", True, None, (1,), 10**5000, "9" * 5000]


@pytest.mark.parametrize("key", BAD_IDS, ids=range(len(BAD_IDS)))
def test_id_that_is_no_whole_number(key):
    with pytest.raises(PromptIdError, match="not a whole number from 1 to 65535"):
        parse_prompts_dict({key: "Liver", "instance_label": 0}, "x")


@pytest.mark.parametrize("key", ["0", 0, "-1", -3, "65536", 10**9])
def test_id_out_of_range(key):
    with pytest.raises(PromptIdError, match=f"{key!r} lies outside 1 to 65535"):
        parse_prompts_dict({key: "Liver", "instance_label": 0}, "x")


@pytest.mark.parametrize(("first", "second"), [("1", "01"), (1, "1"), (" 1", "1")])
def test_two_spellings_of_one_id(first, second):
    with pytest.raises(PromptIdError, match=f"{first!r} and {second!r} are two spellings of prompt id 1"):
        parse_prompts_dict({first: "Liver", second: "Spleen", "instance_label": 0}, "x")


@pytest.mark.parametrize("sentence", [5, None, [5], {"a": 1}, b"Liver"])
def test_sentence_that_is_no_text(sentence):
    with pytest.raises(PromptTextError, match=f"{type(sentence).__name__}; text is wanted"):
        parse_prompts_dict({"1": sentence, "instance_label": 0}, "x")


@pytest.mark.parametrize("sentence", ["", "  ", "\n\t"])
def test_blank_sentence(sentence):
    with pytest.raises(PromptTextError, match="blank"):
        parse_prompts_dict({"1": sentence, "instance_label": 0}, "x")


def test_half_characters_are_replaced():
    assert parse_prompts_dict({"1": "Li\ud800ver", "instance_label": 0}, "x").sentences == {1: "Li?ver"}


@pytest.mark.parametrize("content", [{}, {"instance_label": 0}])
def test_no_prompts(content):
    with pytest.raises(NoPromptsError, match="no prompt among"):
        parse_prompts_dict(content, "x")


@pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", [0, 1], {}, float("nan")])
def test_instance_label_neither_0_nor_1_is_0_with_a_note(value):
    """It does not cost the case; from Python, where it can be corrected, it is an error."""
    content = {"1": "Liver", "instance_label": value}
    prompts = parse_prompts_dict(content, "x")
    assert prompts.instance is False and prompts.sentences == {1: "Liver"}
    assert "instance_label is" in prompts.notes[0] and "Taken as 0" in prompts.notes[0]
    with pytest.raises(InstanceLabelError, match="instance_label is"):
        parse_prompts_dict(content, "x", strict=True)


FLAGS = {"0": False, "1": True, " True ": True, "no": False, "instance": True, "semantic": False}


@pytest.mark.parametrize(("value", "want"), [*FLAGS.items(), ([1], True), (True, True), (0.0, False)])
def test_instance_label_in_other_notations(value, want):
    prompts = parse_prompts_dict({"1": "Liver", "Instance_Label": value}, "x")
    assert prompts.instance is want
    assert bool(prompts.notes) is isinstance(value, (str, list))


@pytest.mark.parametrize("key", ["instance-label", "instanceLabel", "Instance label", "INSTANCE_LABEL"])
def test_instance_label_in_other_spellings(key):
    prompts = parse_prompts_dict({"1": "Liver", key: 1}, "x")
    assert (prompts.sentences, prompts.instance, prompts.notes) == ({1: "Liver"}, True, ())


def test_pairs_of_one_id_are_no_prompts():
    with pytest.raises(PromptError):
        parse_prompts([("1", "Liver"), ("1", "Spleen")], "x", "CT_x_1")


@pytest.mark.parametrize("value", [None, "", []])
def test_instance_label_that_says_nothing_is_missing(value):
    prompts = parse_prompts_dict({"1": "Liver", "instance_label": value}, "x")
    assert prompts.instance is False and "gives no instance_label" in prompts.notes[0]


BESIDES: dict[str, tuple[Any, Any, str]] = {
    "background": ("0", "background", "'0' lies outside"),
    "blank": ("2", " ", "'2' is blank"),
    "no text": ("2", None, "is None"),
    "no id": ("liver", "Liver", "'liver' is not a whole number"),
    "too large": (10**9, "Liver", "lies outside"),
    "empty list": ("2", [], "empty list"),
}


@pytest.mark.parametrize("which", BESIDES)
def test_a_bad_prompt_costs_only_itself(which):
    key, sentence, told = BESIDES[which]
    content = {key: sentence, "1": "Spleen", "instance_label": 0}
    prompts = parse_prompts_dict(content, "x")
    assert prompts.sentences == {1: "Spleen"}
    assert len(prompts.notes) == 1 and told in prompts.notes[0] and "left out" in prompts.notes[0]
    with pytest.raises(PromptError, match=told):
        parse_prompts_dict(content, "x", strict=True)


def test_two_spellings_with_two_sentences_cost_that_id():
    prompts = parse_prompts_dict({"1": "a", 1: "b", "2": "c", "02": "c", "instance_label": 0}, "x")
    assert prompts.sentences == {2: "c"}
    assert "two spellings of prompt id 1" in prompts.notes[0]


def test_of_many_bad_prompts_some_are_named():
    content = {**{str(-i): "x" for i in range(1, 100)}, "1": "Liver", "instance_label": 0}
    notes = parse_prompts_dict(content, "x").notes
    assert len(notes) == MAX_TOLD + 1 and notes[-1] == f"{99 - MAX_TOLD} more prompts are left out"


def test_modality_is_a_key_of_its_own():
    prompts = parse_prompts_dict({"1": "Left atrium", "modality": " MRI ", "instance_label": 0}, "x")
    assert (prompts.sentences, prompts.modality, prompts.notes) == ({1: "Left atrium"}, "MRI", ())
    assert parse_prompts_dict({"1": "Left atrium", "modality": 7, "instance_label": 0}, "x").modality is None


@pytest.mark.parametrize(
    "value", [["Liver", "LK"], ("Liver",), {"text": "Liver"}, ["", "Liver"], [{"name": "Liver"}]]
)
def test_of_several_sentences_the_first_counts(value):
    assert parse_prompts_dict({"1": value, "instance_label": 0}, "x").sentences == {1: "Liver"}


@pytest.mark.parametrize("key", [1, 1.0, "1", "1.0", " 01 "])
def test_ids_that_are_plainly_whole(key):
    assert parse_prompts_dict({key: "Liver", "instance_label": 0}, "x").sentences == {1: "Liver"}


FLAT = {"1": "Liver", "2": "Spleen", "instance_label": 0}
LAYOUTS = {
    "wrapped": {"text_prompts": FLAT},
    "in a list": [FLAT],
    "of one dataset": {"CT_x": FLAT},
    "of one dataset of another name": {"MR_y": FLAT},
    "a list": ["Liver", "Spleen"],
    "names with ids": {"background": 0, "Liver": 1, "Spleen": 2, "instance_label": 0},
    "names with ids as text": {"background": "0", "Liver": "1", "Spleen": "2", "instance_label": 0},
    "ids after a word": {"label1": "Liver", "Prompt_2": "Spleen", "instance_label": 0},
    "pairs": [("1", "Liver"), ["2", "Spleen"]],
}


@pytest.mark.parametrize("which", LAYOUTS)
def test_layouts_that_mean_the_same(which):
    assert parse_prompts(LAYOUTS[which], "x", "CT_x_1").sentences == {1: "Liver", 2: "Spleen"}


OTHERS = {
    "BIDS": {"Modality": "MR", "EchoTime": 0.003, "EchoNumber": 1, "FlipAngle": 12},
    "a list": ["anything", "else"],
    "names with ids": {"liver": 1, "spleen": 2},
    "other dataset": {"labels": {"background": 0, "liver": 1}},
    "number": 7,
}


@pytest.mark.parametrize("which", OTHERS)
def test_a_file_of_another_tool_holds_no_prompts(tmp_path, which):
    saved(tmp_path, OTHERS[which], "CT_1.json")
    with pytest.raises(PromptError):
        find_prompts_file(tmp_path / "CT_1.npz", "CT_1", None, None)


@pytest.mark.parametrize("which", LAYOUTS)
def test_beside_a_case_without_prompts_every_layout_is_read(tmp_path, which):
    saved(tmp_path, LAYOUTS[which], "CT_x_1.json")
    found = find_prompts_file(tmp_path / "CT_x_1.npz", "CT_x_1", None, None, has_prompts=False)
    assert found.sentences == {1: "Liver", 2: "Spleen"}


@pytest.mark.parametrize("which", ["a list", "names with ids", "pairs", "of one dataset of another name"])
def test_a_layout_that_is_not_read_beside_prompts_is_named(tmp_path, which):
    saved(tmp_path, LAYOUTS[which], "CT_x_1.json")
    with pytest.raises(PromptFileError, match="prompts of its own"):
        find_prompts_file(tmp_path / "CT_x_1.npz", "CT_x_1", None, None)


@pytest.mark.parametrize("content", [FLAT, ["Liver", "Spleen"], {"Liver": 1, "Spleen": 2}])
def test_a_dataset_that_picks_nothing_is_told(content):
    prompts = parse_prompts(content, "p.json", "CT_1", "CT_AMOS")
    assert prompts.sentences == {1: "Liver", 2: "Spleen"} and prompts.dataset == "CT_AMOS"
    assert prompts.notes[0].startswith("p.json is not keyed by dataset: 'CT_AMOS' picks none")
    assert not any("keyed" in note for note in parse_prompts(content, "p.json", "CT_1").notes)
    assert not any(
        "not keyed" in note for note in parse_prompts({"CT_AMOS": FLAT}, "x", "y", "CT_AMOS").notes
    )


TEXTS = {
    '{"1": "Liver"}': {"1": "Liver"},
    "{'1': 'Liver'}": {"1": "Liver"},
    "['Liver']": ["Liver"],
    " Liver ": {"1": "Liver"},
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_json_or_python_s_notation_or_one_sentence(text):
    assert parse_prompts_text(text, "x") == TEXTS[text]


@pytest.mark.parametrize("text", ["{'1': Liver}", "[" * 100_000, "{'1': __import__('os')}"])
def test_text_that_begins_like_json_and_is_none(text):
    with pytest.raises(PromptFileError, match="x: "):
        parse_prompts_text(text, "x")


def test_instance_label_missing_is_0_and_noted():
    prompts = parse_prompts_dict({"1": "Liver"}, "x")
    assert prompts.instance is False
    assert "instance_label" in prompts.notes[0]


@pytest.mark.parametrize("content", [[], "Liver", 3, None])
def test_prompts_that_are_no_dict(tmp_path, content):
    with pytest.raises(PromptFileError, match=type(content).__name__):
        parse_prompts_dict(content, "x")
    with pytest.raises(PromptFileError, match=type(content).__name__):
        read_prompts_file(saved(tmp_path, json.dumps(content)), "case")


def test_flat_file_serves_any_case(tmp_path):
    path = saved(tmp_path, {"2": "Liver", "instance_label": 1})
    prompts = read_prompts_file(path, "anything", "CT_AMOS")
    assert (prompts.sentences, prompts.instance, prompts.dataset) == ({2: "Liver"}, True, "CT_AMOS")


def test_dataset_is_the_longest_key_and_the_first_sentence_counts(tmp_path):
    prompts = read_prompts_file(saved(tmp_path, CHALLENGE), "CT_TotalSeg_organs_s0001")
    assert prompts.dataset == "CT_TotalSeg_organs"
    assert prompts.sentences == {3: "Liver", 1: "Spleen"}
    assert "CT_TotalSeg_organs" in prompts.notes[0] and "first sentence" in prompts.notes[1]
    assert read_prompts_file(saved(tmp_path, CHALLENGE), "CT_TotalSeg_x").sentences == {1: "wrong"}


def test_given_dataset_wins_over_the_name(tmp_path):
    prompts = read_prompts_file(saved(tmp_path, CHALLENGE), "CT_TotalSeg_organs_s0001", "MR_Lesion")
    assert (prompts.dataset, prompts.instance) == ("MR_Lesion", True)


@pytest.mark.parametrize(("name", "dataset"), [("MR_Lesions2", "MR_Lesoin"), ("MR_Leison_4", None)])
def test_no_such_dataset_names_the_nearest(tmp_path, name, dataset):
    with pytest.raises(PromptFileError, match=f"{dataset or name}.*nearest keys are 'MR_Lesion'"):
        read_prompts_file(saved(tmp_path, CHALLENGE), name, dataset)


@pytest.mark.parametrize("odd", [float("nan"), 2.5, b"CT_x", (1, 2), None])
def test_keys_that_are_no_text_name_no_dataset(odd):
    """A pickled dict may have keys of any type."""
    keyed = {odd: {"1": "wrong"}, "CT_TotalSeg": {"1": "Spleen"}}
    assert parse_prompts(keyed, "text_prompts", "CT_TotalSeg_1").sentences == {1: "Spleen"}
    with pytest.raises(PromptFileError, match="nearest keys are 'CT_TotalSeg'"):
        parse_prompts(keyed, "text_prompts", "MR_1")
    with pytest.raises(PromptError):
        parse_prompts({odd: {"1": "wrong"}}, "text_prompts", "CT_TotalSeg_1")


def test_broken_json_is_located(tmp_path):
    with pytest.raises(PromptFileError, match="line 2, column 8"):
        read_prompts_file(saved(tmp_path, '{\n "1":  Liver}'), "case")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"1": ' + "9" * 5000 + "}", ""])
def test_json_that_python_cannot_take(tmp_path, text):
    with pytest.raises(PromptFileError):
        read_prompts_file(saved(tmp_path, text), "case")


def test_key_given_twice_in_json(tmp_path):
    """It costs that prompt alone, and nothing where both say the same."""
    with pytest.raises(PromptTextError, match="'1' comes twice"):
        read_prompts_file(saved(tmp_path, '{"1": "Liver", "1": "Spleen", "instance_label": 0}'), "case")
    path = saved(tmp_path, '{"1": "Liver", "1": "Spleen", "2": "A", "3": "B", "3": "B", "instance_label": 0}')
    prompts = read_prompts_file(path, "case")
    assert prompts.sentences == {2: "A", 3: "B"} and "comes twice" in prompts.notes[0]


def test_class_with_an_empty_list(tmp_path):
    with pytest.raises(PromptTextError, match="empty list"):
        read_prompts_file(saved(tmp_path, {"CT": {"1": [], "instance_label": 0}}), "CT_1")


def test_byte_order_mark_is_no_matter(tmp_path):
    path = tmp_path / "p.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"1": "Liver", "instance_label": 0}).encode())
    assert read_prompts_file(path, "case").sentences == {1: "Liver"}


def test_file_that_is_absent_a_folder_or_no_utf8(tmp_path):
    with pytest.raises(PromptFileError, match="No such file"):
        read_prompts_file(tmp_path / "none.json", "case")
    with pytest.raises(PromptFileError):
        read_prompts_file(tmp_path, "case")
    (tmp_path / "p.json").write_bytes(b'{"1": "\xff"}')
    with pytest.raises(PromptFileError, match="byte 7 is not UTF-8"):
        read_prompts_file(tmp_path / "p.json", "case")


def test_challenge_file(shared):
    path = shared / "challenge/CVPR25_TextSegFMData_with_class.json"
    prompts = read_prompts_file(path, "CT_AMOS_amos_0018")
    assert prompts.dataset == "CT_AMOS"
    assert list(prompts.sentences) == list(range(1, 16))
    assert prompts.sentences[1] == json.loads(path.read_text())["CT_AMOS"]["1"][0]
    for key, entry in json.loads(path.read_text()).items():
        found = read_prompts_file(path, f"{key}_case")
        assert found.dataset == key
        assert found.instance == bool(entry["instance_label"])
        assert len(found.sentences) == len(entry) - 1
