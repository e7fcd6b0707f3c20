"""What numbers and spacing of a case mean, once its prompts are understood."""

from dataclasses import replace

import numpy as np
import pytest

from tests.inference.made_ct import body, shown
from vesal.inference.data.case import Case, StoredNumbers
from vesal.inference.data.prompt import ModalityChoice
from vesal.inference.io.intensity import prepare
from vesal.inference.prompts.case_meaning import settle, window_for
from vesal.inference.prompts.parser import parse_case, parse_prompts

BLACK = np.zeros((2, 2, 2), np.uint8)


def stored_case(numbers: np.ndarray, sentence: str, name: str = "x") -> Case:
    image, notes, hounsfield = prepare(name, numbers)
    stored = StoredNumbers(numbers, notes, hounsfield)
    return Case(name, image, (2.0, 2.0, 2.0), {1: sentence}, False, None, (*notes, "other"), stored=stored)


def settled(case: Case) -> tuple[Case, ModalityChoice]:
    prompts, choice = parse_case(case)
    return settle(case, prompts, choice), choice


def test_numbers_decide_where_neither_prompts_nor_name_do():
    volume = body()
    case, choice = settled(stored_case(volume, "liver"))
    assert (choice.modality, choice.source) == ("CT", "numbers")
    np.testing.assert_array_equal(case.image, shown(volume))
    assert case.stored is None


def test_prompts_decide_before_numbers():
    case, choice = settled(stored_case(body(), "liver in MR"))
    assert choice.modality == "MR"
    assert "percentiles" in case.notes[0] and case.notes[2:] == ("other",)
    assert "looks like Hounsfield units of CT, but is taken as MR: 1 of 1 prompts" in case.notes[1]


def test_hounsfield_units_under_a_name_that_says_mr_are_told():
    case, _ = settled(stored_case(body(), "liver", "MR_1"))
    assert "taken as MR" in case.notes[1] and "the file name 'MR_1' does" in case.notes[1]


def test_a_crop_in_hounsfield_units_is_windowed_where_the_name_says_ct():
    crop = body()[:, 15:25, 15:25].clip(-160, 240)
    case, _ = settled(stored_case(crop, "liver", "CT_1"))
    np.testing.assert_array_equal(case.image, shown(crop))
    assert "Hounsfield" in case.notes[0] and case.notes[1:] == ("other",)


@pytest.mark.parametrize(
    ("sentences", "window"),
    [
        (["left lung", "lung lesion"], "lung"),
        (["vertebra L1", "left rib 4", "sacrum"], "bone"),
        (["brain"], "brain"),
        (["liver"], "soft tissue"),
        (["left lung", "liver"], "soft tissue"),
        (["left lung", "sacrum"], "soft tissue"),
        (["something else"], "soft tissue"),
    ],
)
def test_the_window_is_that_of_the_targets(sentences, window):
    prompts, _ = parse_prompts(dict(enumerate(sentences, 1)), name="CT_1", image=BLACK)
    assert window_for(prompts).name == window


def test_ct_is_shown_in_the_window_that_is_wanted():
    case, _ = settled(stored_case(body(), "left lung in CT"))
    assert "lung window, -910 to 590 HU" in case.notes[0] and case.notes[1:] == ("other",)


SIZES = {
    "metres": ((0.005, 0.0008, 0.0008), (5.0, 0.8, 0.8), "taken as metres"),
    "micrometres": ((5000.0, 800.0, 800.0), (5.0, 0.8, 0.8), "taken as micrometres"),
    "centimetres": ((0.05, 0.008, 0.008), (0.05, 0.008, 0.008), "is it in centimetres?"),
    "too large": ((50.0, 40.0, 40.0), (50.0, 40.0, 40.0), "used as it is"),
}


@pytest.mark.parametrize("which", SIZES)
def test_spacing_in_another_unit_is_told(which):
    came, want, note = SIZES[which]
    image = np.zeros((40, 200, 200), np.uint8)
    case = Case("CT_1", image, came, {1: "liver"}, False, None, ())
    result, choice = settled(case)
    assert result.spacing_dhw_mm == pytest.approx(want)
    assert len(result.notes) == 1 and note in result.notes[0]
    microscopy = replace(choice, modality="Microscopy")
    assert settle(case, (), microscopy) is case


@pytest.mark.parametrize("mm", [(1.0, 1.0, 1.0), (10.0, 1.4, 1.4), (0.5, 0.3, 0.3)])
def test_plausible_spacing_stays(mm):
    case = Case("CT_1", np.zeros((40, 200, 200), np.uint8), mm, {1: "liver"}, False, None, ())
    assert settled(case)[0] is case


def small_case(sentence: str, mm: float = 0.125) -> Case:
    return Case("MR_1", np.zeros((80, 104, 104), np.uint8), (mm,) * 3, {1: sentence}, False, None, ())


def test_a_volume_smaller_than_an_organ_is_told():
    result, _ = settled(small_case("left atrium"))
    assert result.spacing_dhw_mm == (0.125,) * 3
    assert len(result.notes) == 1 and "a volume of 13 mm" in result.notes[0]
    assert "in centimetres? Then (1.25, 1.25, 1.25) mm" in result.notes[0]


@pytest.mark.parametrize(("sentence", "mm"), [("hippocampus", 0.125), ("left atrium", 0.4)])
def test_a_volume_as_small_as_its_targets_is_not_told(sentence, mm):
    case = small_case(sentence, mm)
    assert settled(case)[0] is case


def test_stored_numbers_are_kept_for_whom_they_are_wanted() -> None:
    numbers = np.linspace(-1000, 1000, 60).reshape(3, 4, 5)
    case = Case("made", np.zeros(numbers.shape, np.uint8), (10.0, 10.0, 10.0), {}, False, None, ())
    case = replace(case, stored=StoredNumbers(numbers, (), True))
    choice = ModalityChoice("CT", "given", "a test")
    assert settle(case, (), choice).numbers is None
    kept = settle(case, (), choice, keep_numbers=True)
    assert kept.numbers is numbers and kept.stored is None
