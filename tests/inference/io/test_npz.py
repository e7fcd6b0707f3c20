"""A case is read whole and checked; every bad input has its own named error."""

import collections
import json
import math
import os

import numpy as np
import pytest

from vesal.inference.data import errors
from vesal.inference.io.formats import read_case, read_shape

PROMPTS = {"3": "Liver in CT", "200": "Spleen in CT", "instance_label": 0}


class Touches:
    """Pickles as a command that makes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def made(tmp_path):
    """Return a function that saves a good case with the given arrays changed (None: left out)."""

    def make(name="CT_AMOS_1", save=np.savez_compressed, **changes):
        arrays = {
            "imgs": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
            "spacing": np.array([0.5, 0.75, 5.0]),
            "text_prompts": PROMPTS,
        }
        arrays |= changes
        path = tmp_path / f"{name}.npz"
        save(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return make


def test_a_good_case(made):
    case = read_case(made())
    assert case.name == "CT_AMOS_1"
    assert case.image.dtype == np.uint8 and case.image.flags.c_contiguous
    assert np.array_equal(case.image, np.arange(24).reshape(2, 3, 4))
    assert case.spacing_dhw_mm == (5.0, 0.75, 0.5)
    assert case.sentences == {3: "Liver in CT", 200: "Spleen in CT"}
    assert (case.instance, case.dataset, case.notes) == (False, None, ())


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i4", "u1"])
def test_spacing_of_any_real_type_is_turned_once(made, dtype):
    assert read_case(made(spacing=np.array([1, 2, 3], dtype))).spacing_dhw_mm == (3.0, 2.0, 1.0)


def test_memory_and_byte_order_of_the_volume(made):
    image = np.asfortranarray(np.arange(24).reshape(2, 3, 4).astype(">u2") * 255)
    image[1, 2, 3] = 65535
    case = read_case(made(imgs=image))
    assert case.image.flags.c_contiguous and case.image.shape == (2, 3, 4)
    flat = case.image.ravel().astype(int)
    assert np.all(np.diff(flat) >= 0) and flat[-1] == 255
    plain = read_case(made(imgs=np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))))
    assert np.array_equal(plain.image, np.arange(24).reshape(2, 3, 4))


def test_other_arrays_are_never_read(made, tmp_path):
    extra = np.array({"a": Touches(tmp_path / "trace")}, dtype=object)
    assert read_case(made(boxes=extra, prev_pred=extra, gts=extra)).sentences[3] == "Liver in CT"
    assert not (tmp_path / "trace").exists()


def test_malicious_prompts_are_refused_and_do_not_run(made, tmp_path):
    path = made(text_prompts=np.array({"1": Touches(tmp_path / "trace")}, dtype=object))
    with pytest.raises(errors.UnsafePickleError, match="CT_AMOS_1.npz.*system"):
        read_case(path)
    assert not (tmp_path / "trace").exists()
    assert read_shape(path) == (2, 3, 4)
    np.load(path, allow_pickle=True)["text_prompts"]  # the attack is real: numpy runs it
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("wrap", [np.array, np.bytes_])
def test_prompts_as_json_text(made, wrap):
    text = json.dumps(PROMPTS)
    assert read_case(made(text_prompts=wrap(text))).sentences == {3: "Liver in CT", 200: "Spleen in CT"}


def test_prompts_in_an_array_of_one_element(made):
    assert list(read_case(made(text_prompts=np.array([PROMPTS], dtype=object))).sentences) == [3, 200]


def test_float_volume_is_rescaled_and_the_note_says_so(made):
    case = read_case(made(imgs=np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)))
    assert case.image.dtype == np.uint8 and case.image.max() == 255
    assert len(case.notes) == 1 and "float32" in case.notes[0] and "percentiles" in case.notes[0]


def test_absent_spacing_is_1_mm_with_a_note(made):
    case = read_case(made(spacing=None))
    assert case.spacing_dhw_mm == (1.0, 1.0, 1.0)
    assert "1 mm" in case.notes[0]


def test_json_beside_the_case_overrides_and_a_given_file_overrides_both(made, tmp_path):
    path = made()
    path.with_suffix(".json").write_text('{"9": "Heart", "instance_label": 1}')
    case = read_case(path)
    assert (case.sentences, case.instance) == ({9: "Heart"}, True)
    given = tmp_path / "given.json"
    given.write_text('{"CT_AMOS": {"5": ["Aorta", "The aorta"], "instance_label": 0}}')
    case = read_case(path, given)
    assert (case.sentences, case.dataset) == ({5: "Aorta"}, "CT_AMOS")
    with pytest.raises(errors.PromptFileError, match="nearest keys are 'CT_AMOS'"):
        read_case(path, given, "CT_AMO")


def test_overridden_prompts_may_be_absent_or_malicious(made, tmp_path):
    given = tmp_path / "given.json"
    given.write_text('{"5": "Aorta", "instance_label": 0}')
    evil = np.array({"1": Touches(tmp_path / "trace")}, dtype=object)
    for prompts in (None, evil):
        assert read_case(made(text_prompts=prompts), given).sentences == {5: "Aorta"}
    assert not (tmp_path / "trace").exists()


IMAGE = np.ones((2, 3, 4), np.uint8)
NAN = IMAGE.astype(np.float32) * np.nan
BAD = {
    "no imgs": ({"imgs": None}, errors.MissingKeyError, "'imgs'; the file has 'spacing', 'text_prompts'"),
    "no prompts": ({"text_prompts": None}, errors.MissingKeyError, "'text_prompts'; .* CT_AMOS_1.json"),
    "2 axes": ({"imgs": IMAGE[0]}, errors.VolumeShapeError, r"2 axes, shape \(3, 4\)"),
    "4 axes": ({"imgs": np.stack([IMAGE, IMAGE])}, errors.VolumeShapeError, "4 axes"),
    "0 axes": ({"imgs": np.uint8(3)}, errors.VolumeShapeError, "0 axes"),
    "empty": ({"imgs": IMAGE[:, :0]}, errors.EmptyVolumeError, r"\(2, 0, 4\)"),
    "object": ({"imgs": IMAGE.astype(object)}, errors.IntensityError, "Python objects"),
    "complex": ({"imgs": IMAGE.astype(complex)}, errors.IntensityError, "complex128"),
    "text": ({"imgs": IMAGE.astype(str)}, errors.IntensityError, "<U"),
    "nan": ({"imgs": NAN}, errors.IntensityError, "24 NaN"),
    "spacing 0": ({"spacing": [1.0, 0.0, 1.0]}, errors.SpacingError, r"\(1, 0, 1\)"),
    "spacing nan": ({"spacing": [math.nan, 1.0, 1.0]}, errors.SpacingError, "nan"),
    "spacing inf": ({"spacing": [math.inf, 1.0, 1.0]}, errors.SpacingError, "inf"),
    "spacing of 2": ({"spacing": [1.0, 1.0]}, errors.SpacingError, r"shape \(2,\)"),
    "spacing object": ({"spacing": np.array([1, 1, None])}, errors.SpacingError, "dtype object"),
    "spacing words": ({"spacing": "thin"}, errors.SpacingError, "thin"),
    "spacing of 2x3": ({"spacing": np.ones((2, 3))}, errors.SpacingError, r"shape \(2, 3\)"),
    "spacing bool": ({"spacing": [True, True, True]}, errors.SpacingError, "dtype bool"),
    "spacing complex": ({"spacing": [1j, 1j, 1j]}, errors.SpacingError, "complex128"),
    "prompts empty": ({"text_prompts": {}}, errors.NoPromptsError, "no prompt"),
    "prompts number": ({"text_prompts": 3.0}, errors.PromptFileError, "dtype float64"),
    "prompts list": ({"text_prompts": np.array([PROMPTS, 1])}, errors.PromptFileError, "are a list"),
    "prompts not ascii": ({"text_prompts": np.bytes_(b"\xff")}, errors.PromptFileError, "decoded"),
    "id": ({"text_prompts": {"x": "Liver"}}, errors.PromptIdError, "'x'"),
    "ids": ({"text_prompts": {"1": "a", 1: "b"}}, errors.PromptIdError, "two spellings"),
    "blank": ({"text_prompts": {"1": " "}}, errors.PromptTextError, "blank"),
}


@pytest.mark.parametrize("which", BAD)
def test_bad_input_has_its_named_error(made, which):
    changes, error, message = BAD[which]
    path = made(**changes)
    with pytest.raises(error, match=message) as caught:
        read_case(path)
    assert isinstance(caught.value, errors.CaseError)
    assert "CT_AMOS_1.npz" in str(caught.value)
    expected = None if changes.get("imgs", 0) is None else np.asarray(changes.get("imgs", IMAGE)).shape
    assert read_shape(path) == expected


def test_thin_volumes_and_largest_id(made):
    for depth in (1, 2):
        prompts = {"65535": "Liver", "instance_label": 0}
        case = read_case(made(imgs=np.ones((depth, 1, 1), np.uint8), text_prompts=prompts))
        assert case.image.shape == (depth, 1, 1) and list(case.sentences) == [65535]


REAL = {
    "CT_AMOS_amos_0018": ((63, 512, 512), (5.0, 0.846, 0.846), 15, False),
    "MR_LeftAtrium_native": ((88, 141, 212), (0.625, 0.625, 0.625), 1, False),
    "Microscopy_SELMA3D_patchvolume_nuclei_004": ((134, 200, 200), (1.0, 1.0, 1.0), 1, True),
    "PET_HeadNeck_QIN-0024": ((299, 128, 128), (3.375, 3.5378182, 3.5378182), 1, True),
    "US_Cardiac_patient0027_2CH_half_sequence": ((19, 551, 669), (1.0, 0.308, 0.308), 3, False),
}


@pytest.mark.parametrize("name", REAL)
def test_real_cases(shared, name):
    path = shared / "cases/imgs" / f"{name}.npz"
    shape, spacing, prompts, instance = REAL[name]
    case = read_case(path)
    assert case.image.shape == read_shape(path) == shape
    assert case.spacing_dhw_mm == pytest.approx(spacing, abs=1e-6)
    assert list(case.sentences) == list(range(1, prompts + 1))
    assert (case.instance, case.notes) == (instance, ())
    with np.load(path) as plain:
        assert np.array_equal(case.image, plain["imgs"])


def test_training_volumes_compressed_with_lzma(shared):
    folders = sorted(folder for folder in (shared / "data/train").iterdir() if folder.is_dir())
    assert folders
    for folder in folders:
        path = min(folder.glob("*.npz"))
        case = read_case(path)
        assert read_shape(path) == case.image.shape
        assert case.sentences and case.notes == ()


SPACINGS = {
    "row": [[0.5, 0.75, 5.0]],
    "column": [[0.5], [0.75], [5.0]],
    "negative": [-0.5, -0.75, 5.0],
    "text": ["0.5", "0.75", "5.0"],
    "bytes": [b"0.5", b"0.75", b"5.0"],
    "one text": "0.5 0.75 5.0",
    "tuple in text": "(0.5, 0.75, 5.0) mm",
    "with x": "0.5x0.75x5",
    "objects": np.array([0.5, "0.75", 5], dtype=object),
    "dict": {"x": 0.5, "y": 0.75, "z": 5.0},
    "with time": [0.5, 0.75, 5.0, 1.0],
    "unit at each": "0.5mm x 0.75mm x 5mm",
    "unit at each, no space": "0.5mmx0.75mmx5.0mm",
    "decimal commas": "0,5 0,75 5,0",
    "dict in array order": {"d": 5.0, "h": 0.75, "w": 0.5},
    "affine of 3x3": np.diag([-0.5, -0.75, 5.0]),
    "affine of 4x4": [[-0.5, 0, 0, 90.0], [0, -0.75, 0, 120.0], [0, 0, 5, -7.0], [0, 0, 0, 1]],
}


@pytest.mark.parametrize("which", SPACINGS)
def test_spacing_in_other_notations_is_taken_with_a_note(made, which):
    case = read_case(made(spacing=SPACINGS[which]))
    assert case.spacing_dhw_mm == (5.0, 0.75, 0.5)
    assert "spacing came as" in case.notes[0] and "(0.5, 0.75, 5) mm" in case.notes[0]


@pytest.mark.parametrize("value", [np.array(None, object), np.array([]), np.array([], object), ""])
def test_spacing_that_says_nothing_is_absent(made, value):
    case = read_case(made(spacing=np.array(value)))
    assert case.spacing_dhw_mm == (1.0, 1.0, 1.0) and "no spacing given" in case.notes[0]


@pytest.mark.parametrize(
    "value",
    [
        np.ones((3, 3)),
        np.zeros((3, 3)),
        np.diag([1.0, 0, 1]),
        np.diag([1.0, math.nan, 1]),
        np.eye(4) * 2,
        "1,2,3,4,5,6",
    ],
)
def test_spacing_of_no_plain_meaning_is_an_error(made, value):
    with pytest.raises(errors.SpacingError):
        read_case(made(spacing=value))


@pytest.mark.parametrize("value", [np.array(1.25), [1.25], "1.25"])
def test_spacing_of_one_number_is_that_of_all_axes(made, value):
    assert read_case(made(spacing=value)).spacing_dhw_mm == (1.25, 1.25, 1.25)


@pytest.mark.parametrize("turn", [lambda v: v[None], lambda v: v[..., None], lambda v: v[None, None]])
def test_axes_of_one_voxel_are_left_out(made, turn):
    path = made(imgs=turn(IMAGE))
    case = read_case(path)
    np.testing.assert_array_equal(case.image, IMAGE)
    assert "axes of length 1 left out" in case.notes[0]
    assert read_shape(path) == turn(IMAGE).shape  # of the file, for its output


def test_a_volume_of_one_slice_keeps_its_axis(made):
    assert read_case(made(imgs=IMAGE[:1])).image.shape == (1, 3, 4)
    assert read_case(made(imgs=IMAGE[:1, None])).image.shape == (1, 3, 4)


PROMPTS_OF_LIVER = {
    "text of a dict": str({"1": "Liver", "instance_label": 0}),
    "sentence": "Liver",
    "bytes": b"Liver",
    "list": ["Liver"],
    "flag as text": {"1": "Liver", "instance_label": "0"},
    "list of sentences": {"1": ["Liver", "The liver"], "instance_label": 0},
    "ordered": collections.OrderedDict({"1": "Liver", "instance_label": 0}),
    "by dataset": {"CT_AMOS": {"1": ["Liver"], "instance_label": 0}},
}


@pytest.mark.parametrize("which", PROMPTS_OF_LIVER)
def test_prompts_in_other_notations(made, which):
    case = read_case(made(text_prompts=PROMPTS_OF_LIVER[which]))
    assert (case.sentences, case.instance) == ({1: "Liver"}, False)


def test_several_sentences_are_numbered(made):
    assert read_case(made(text_prompts=["Liver", "Spleen"])).sentences == {1: "Liver", 2: "Spleen"}


def test_a_json_beside_that_holds_no_prompts_costs_nothing(made):
    path = made()
    want = read_case(path)
    for text in ('{"Modality": "MR", "EchoTime": 0.003}', "{broken", '{"labels": {"liver": 1}}'):
        path.with_suffix(".json").write_text(text)
        case = read_case(path)
        assert case.sentences == want.sentences
        assert "CT_AMOS_1.json beside the case is not used" in case.notes[0]


def test_a_json_beside_that_holds_no_prompts_is_an_error_where_nothing_else_does(made):
    path = made(text_prompts=None)
    path.with_suffix(".json").write_text('{"Modality": "MR"}')
    with pytest.raises(errors.PromptError, match="Modality"):
        read_case(path)
