"""What is too large is refused by name, before any work that grows with it; one prompt costs only itself."""

import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data import errors
from vesal.inference.io import limits
from vesal.inference.io.formats import read_case, read_shape
from vesal.inference.io.limits import check_content, check_mask_size, check_volume
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.prompts.term_search import split_words

LIVER = "liver in CT"
MARKS = "a" + "\u0345" * 75_000 + "\u0334" * 75_000
"""Of 150,000 combining marks: normalising them took 52 s in one call that lets no other thread run."""
BLANK = np.zeros((2, 3, 4), np.uint8)


def saved(folder: Path, prompts: object, name: str = "a.npz") -> Path:
    """A small case with prompts as they are given."""
    stored = prompts if isinstance(prompts, np.ndarray) else np.array(prompts, object)
    np.savez_compressed(folder / name, imgs=BLANK, spacing=np.ones(3), text_prompts=stored)
    return folder / name


def beside(folder: Path, text: str) -> Path:
    """A small case without prompts, and a JSON file with them."""
    path = folder / "a.npz"
    np.savez_compressed(path, imgs=BLANK, spacing=np.ones(3))
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return path


def test_a_sentence_of_marks_costs_only_itself_and_no_time(tmp_path: Path) -> None:
    started = time.process_time()
    case = read_case(saved(tmp_path, {"1": MARKS, "2": LIVER, "instance_label": 0}))
    assert case.sentences == {2: LIVER}
    assert any("SentenceLengthError" in note and "150001 characters" in note for note in case.notes)
    assert time.process_time() - started < 5


def test_no_text_is_normalised_beyond_the_limit() -> None:
    """Whoever calls the parser."""
    started = time.process_time()
    prompts, _ = parse_prompts({1: MARKS, 2: LIVER}, name="a", image=BLANK)
    assert [prompt.id for prompt in prompts] == [1, 2]
    assert len("".join(split_words("x" * 5000))) == limits.MAX_SENTENCE
    assert time.process_time() - started < 5


def test_a_long_sentence_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.SentenceLengthError, match="4001 characters; at most 4000"):
        read_case(saved(tmp_path, {"1": "x" * 4001, "instance_label": 0}))
    assert read_case(saved(tmp_path, {"1": "x" * 4000})).sentences == {1: "x" * 4000}


@pytest.mark.parametrize("count", [limits.MAX_PROMPTS, limits.MAX_PROMPTS + 1])
def test_too_many_prompts_are_refused(tmp_path: Path, count: int) -> None:
    prompts = {str(n): LIVER for n in range(1, count + 1)}
    for path in (saved(tmp_path, prompts), beside(tmp_path, json.dumps(prompts))):
        if count <= limits.MAX_PROMPTS:
            assert len(read_case(path).sentences) == count
        else:
            with pytest.raises(errors.TooManyPromptsError, match="2001 prompts or keys; at most 2000"):
                read_case(path)


def test_a_large_json_file_is_not_read(tmp_path: Path) -> None:
    path = beside(tmp_path, json.dumps({"1": "x" * 60_000_000}))
    tracemalloc.start()
    with pytest.raises(errors.PromptFileError, match="at most 4194304 bytes"):
        read_case(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("depth", [limits.MAX_DEPTH + 1, 500, 100_000])
def test_prompts_nested_too_deep_are_refused(tmp_path: Path, depth: int) -> None:
    with pytest.raises(errors.PromptFileError):
        read_case(beside(tmp_path, '{"1": ' + "[" * depth + "]" * depth + "}"))


def test_depth_and_number_of_values_in_all() -> None:
    check_content({"data": {"1": [["liver"]]}}, "a")
    nested: object = "liver"
    for _ in range(limits.MAX_DEPTH + 1):
        nested = [nested]
    with pytest.raises(errors.PromptFileError, match="deeper than 12"):
        check_content(nested, "a")
    with pytest.raises(errors.PromptFileError, match="more than 100000 values"):
        check_content({str(n): list(range(1000)) for n in range(200)}, "a")


def test_lists_that_hold_themselves_many_times_take_no_time() -> None:
    """2^60 paths lead to the innermost list."""
    shared: object = ["liver"]
    for _ in range(limits.MAX_DEPTH - 1):
        shared = [shared] * 40
    check_content(shared, "a")


def test_a_pickle_of_too_many_steps_is_refused(tmp_path: Path) -> None:
    steps = pickle.dumps([None] * 300_000, protocol=2)
    path = tmp_path / "a.npz"
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + steps
    np.savez(path, imgs=BLANK, spacing=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("text_prompts.npy", member)
    with pytest.raises(errors.PromptError, match="more than 200000 steps"):
        read_case(path)


def test_an_archive_of_too_many_arrays_is_refused_and_its_shape_known(tmp_path: Path) -> None:
    path = saved(tmp_path, {"1": LIVER})
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(errors.TooManyArraysError, match="at most 1048576"):
        read_case(path)
    assert read_shape(path) == BLANK.shape


def test_the_table_of_an_archive_with_64_bit_sizes_is_looked_at_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000):  # beyond 65,535 members sizes take 64 bits
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(errors.TooManyArraysError):
        read_case(path)


@pytest.mark.parametrize("dtype,bytes_per_voxel", [("u1", 4), ("i2", 4), ("f4", 6), ("f8", 10)])
def test_a_volume_may_be_as_large_as_memory_allows(dtype: str, bytes_per_voxel: int) -> None:
    shape, kind = (500, 512, 512), np.dtype(dtype)
    enough = limits.BASE_BYTES + bytes_per_voxel * 500 * 512 * 512
    check_volume("a", shape, kind, memory=enough)
    with pytest.raises(errors.VolumeSizeError, match=r"would take about .* GB, and there are"):
        check_volume("a", shape, kind, memory=enough - 1)


def test_half_a_thousand_slices_fit_into_1500_mb() -> None:
    for dtype in ("u1", "i2"):
        check_volume("a", (500, 512, 512), np.dtype(dtype), memory=1500 << 20)


def test_2_billion_voxels_of_int16_fit_into_12_gb() -> None:
    check_volume("a", (1280, 1280, 1280), np.dtype("i2"), memory=12 << 30)


def test_a_case_beyond_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "memory_limit", lambda: limits.BASE_BYTES + 95)
    with pytest.raises(errors.VolumeSizeError):
        read_case(saved(tmp_path, {"1": LIVER}))
    monkeypatch.setattr(limits, "memory_limit", lambda: limits.BASE_BYTES + 96)
    assert read_case(saved(tmp_path, {"1": LIVER})).image.shape == BLANK.shape


def test_a_mask_beyond_memory_is_refused() -> None:
    check_mask_size("a", 800, 100, memory=limits.BASE_BYTES + 1200)
    with pytest.raises(errors.MaskSizeError, match="Save it as uint8"):
        check_mask_size("a", 801, 100, memory=limits.BASE_BYTES + 1200)
