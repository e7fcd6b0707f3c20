"""Formats by suffix: a second one goes all the way through the command, and a case is opened once."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SHAPE, Opener, read_output, write_case
from vesal.inference.data.case import Case
from vesal.inference.data.errors import (
    CaseError,
    MissingKeyError,
    NotAnArchiveError,
    TruncatedArchiveError,
    UnreadableFileError,
)
from vesal.inference.io import formats
from vesal.inference.io.formats import CaseFormat, case_name, has_case, open_case, read_case, suffix_of
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.prompt_files import find_prompts_file
from vesal.inference.io.user_prompts import FoundUserPrompts
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

opened: list[str] | None = None
"""Paths that this process opens, while somebody counts."""


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what is opened, by whatever call; hooks of the interpreter stay, so this one is put in once."""
    if event == "open" and opened is not None and isinstance(arguments[0], str | os.PathLike):
        opened.append(os.fspath(arguments[0]))


sys.addaudithook(listen)


@contextmanager
def counted(path: Path) -> Iterator[list[str]]:
    """How often a file is opened inside: the list holds its path as many times afterwards."""
    global opened
    times: list[str] = []
    opened = []
    try:
        yield times
    finally:
        times += [name for name in opened if name == str(path)]
        opened = None


@pytest.mark.parametrize("names", ["a", "ab"])
def test_the_command_opens_a_case_once(tmp_path: Path, names: str) -> None:
    """For zeros, volume, prompts and the mask in it; of several cases the zeros of all come first."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[CUBE] = 1
    (tmp_path / "in").mkdir()
    for name in names:
        path = write_case(tmp_path / "in" / f"{name}.npz")
        with np.load(path, allow_pickle=True) as archive:
            arrays = dict(archive)
        np.savez_compressed(path, **arrays, prev_pred=mask)
    with counted(tmp_path / "in" / "a.npz") as times:
        assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 0
    assert len(times) == len(names)
    report = (tmp_path / "report.json").read_text()
    assert report.count("a mask is given for the prompts 1 ") == len(names)


@pytest.mark.parametrize(
    ("content", "shape", "error"),
    [
        ("whole", SHAPE, None),
        ("without directory", SHAPE, TruncatedArchiveError),
        ("no archive", None, NotAnArchiveError),
        ("without volume", None, MissingKeyError),
    ],
)
def test_shape_and_case_come_from_one_opening(
    tmp_path: Path, content: str, shape: tuple[int, ...] | None, error: type[CaseError] | None
) -> None:
    """Also where the directory is lost and the shape is looked for in the local headers."""
    path = write_case(tmp_path / "a.npz")
    if content == "without directory":
        path.write_bytes(path.read_bytes()[:-30])
    elif content == "no archive":
        path.write_bytes(b"this is no archive")
    elif content == "without volume":
        np.savez(path, spacing=np.ones(3))
    with counted(path) as times, open_case(path) as reader:
        assert reader.shape == shape
        if error is None:
            assert reader.read().image.shape == shape
        else:
            for _ in range(2):  # the reason stays the same, however often it is asked for
                with pytest.raises(error, match=r"a\.npz"):
                    reader.read()
        assert reader.shape == shape
    assert len(times) == 1


def test_an_absent_case_has_no_shape_and_its_error(tmp_path: Path) -> None:
    with open_case(tmp_path / "absent.npz") as reader:
        assert reader.shape is None
        with pytest.raises(UnreadableFileError, match="does not exist"):
            reader.read()


def test_a_case_is_closed_at_the_end(tmp_path: Path) -> None:
    """Whether it was read or broken."""
    good, bad = write_case(tmp_path / "good.npz"), tmp_path / "bad.npz"
    bad.write_bytes(good.read_bytes()[:-30])
    before = len(os.listdir("/proc/self/fd"))
    for path in (good, bad):
        with open_case(path) as reader:
            assert reader.shape == SHAPE
            assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


class NpyReader:
    """A made-up format: the volume alone in an npy, its prompts always beside it."""

    def __init__(self, path: Path) -> None:
        self.path, self._image = path, np.load(path)

    def __enter__(self) -> "NpyReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._image = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self._image.shape

    @property
    def header(self) -> object:
        return self._image.dtype

    def read(self, prompts_file: Path | None = None, dataset: str | None = None) -> Case:
        name = case_name(self.path)
        prompts = find_prompts_file(self.path, name, prompts_file, dataset)
        assert prompts is not None
        image = self._image.astype(np.uint8)
        return Case(name, image, (1.0, 1.0, 1.0), prompts.sentences, prompts.instance, None, ())

    def read_user_prompts(
        self, ids: Collection[int], shape: tuple[int, int, int], instance: bool
    ) -> FoundUserPrompts:
        return FoundUserPrompts()


def write_npy(file: IO[bytes], labels: np.ndarray, dtype: np.dtype, header: object) -> None:
    """In the type of the case's volume, where that is known."""
    np.save(file, labels.astype(dtype if header is None else header))


@pytest.fixture
def npy(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the made-up format beside npz, under a suffix of two parts and one that ends like it."""
    made = CaseFormat((".npy", ".vol.npy"), NpyReader, write_npy)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, made))


@pytest.mark.usefixtures("npy")
def test_a_second_format_goes_the_whole_way(tmp_path: Path) -> None:
    """Found in the folder, read, segmented, and written as the case came, zeros and labels alike."""
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    write_case(inputs / "one.npz")
    for name, level in (("two.vol", 200), ("three", 202)):  # 202: no engine's result, so the zeros stay
        image = np.zeros(SHAPE, ">i2")
        image[CUBE] = level
        np.save(inputs / f"{name}.npy", image)
    for name in ("two", "three"):
        (inputs / f"{name}.json").write_text('{"5": "Liver in abdominal CT", "instance_label": 0}')
    (inputs / "two.prompt.npy").write_bytes(b"a mask, and no case")
    assert run(Settings(inputs, outputs), Opener()) == 1
    assert sorted(path.name for path in outputs.iterdir()) == ["one.npz", "three.npy", "two.vol.npy"]
    assert read_output(outputs / "one.npz")[CUBE].all()
    labels, zeros = np.load(outputs / "two.vol.npy"), np.load(outputs / "three.npy")
    assert labels.dtype == zeros.dtype == np.dtype(">i2")
    assert labels[CUBE].min() == labels.max() == 5 and np.count_nonzero(labels) == labels[CUBE].size
    assert zeros.shape == SHAPE and not zeros.any()


@pytest.mark.usefixtures("npy")
@pytest.mark.parametrize(
    ("file", "suffix", "name"),
    [
        ("a.npz", ".npz", "a"),
        ("a.b.npz", ".npz", "a.b"),
        ("a.vol.npy", ".vol.npy", "a"),
        ("a.npy", ".npy", "a"),
        (".npz", None, ".npz"),
        ("a.NPZ", ".npz", "a"),
        ("a.txt", None, "a"),
        ("a", None, "a"),
    ],
)
def test_names(file: str, suffix: str | None, name: str) -> None:
    assert (suffix_of(Path("x") / file), case_name(Path("x") / file)) == (suffix, name)


@pytest.mark.usefixtures("npy")
def test_a_case_of_any_format_counts(tmp_path: Path) -> None:
    (tmp_path / "a.vol.npy").write_bytes(b"")
    assert has_case(tmp_path, "a") and not has_case(tmp_path, "b")


def test_another_name_stands_for_the_format_of_the_challenge(tmp_path: Path) -> None:
    path = write_case(tmp_path / "a.npz").rename(tmp_path / "a.case")
    assert read_case(path).image.shape == SHAPE
    write_label_map(tmp_path / "out", np.ones((2, 2, 2), np.uint8))
    assert read_output(tmp_path / "out").all()
