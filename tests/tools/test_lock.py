"""The image's requirements: as pyproject.toml pins them, each wheel with its digest; which wheels count."""

import re
from pathlib import Path

import pytest

from tools.lock import FILES, is_taken, pins_of, requirement


@pytest.mark.parametrize("file", FILES)
def test_the_lists_are_those_of_pyproject(root: Path, file: str) -> None:
    """After a changed pin `python -m tools.lock` has to be run."""
    text = (root / file).read_text()
    entries = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    assert [entry.split()[0] for entry in entries] == pins_of(*FILES[file])
    for entry in entries:
        digests = entry.split()[1:]
        assert digests and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in digests), entry


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", True),
        ("numpy-2.4.6-cp314-cp314-manylinux_2_28_aarch64.whl", True),
        ("numpy-2.4.6-cp314-cp314t-manylinux_2_28_aarch64.whl", False),
        ("numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", False),
        ("numpy-2.4.6-cp311-cp311-macosx_14_0_arm64.whl", False),
        ("numpy-1.0-cp310-cp310-manylinux_2_28_x86_64.whl", False),
        ("tokenizers-0.23.3-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("tqdm-4.70.1-py3-none-any.whl", True),
        ("nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl", True),
        ("numpy-2.4.6.tar.gz", False),
    ],
)
def test_wheels_for_linux_with_glibc_count(name: str, taken: bool) -> None:
    assert is_taken(name) is taken


def test_a_requirement_has_its_own_releases_digests_alone() -> None:
    files = [
        {"filename": "a_b-1.0-py3-none-any.whl", "hashes": {"sha256": "1" * 64}},
        {"filename": "a_b-1.0.1-py3-none-any.whl", "hashes": {"sha256": "2" * 64}},
        {"filename": "a_b-1.0.tar.gz", "hashes": {"sha256": "3" * 64}},
    ]
    assert requirement("a-b==1.0", files).split("\\\n") == ["a-b==1.0 ", f"    --hash=sha256:{'1' * 64}"]
    with pytest.raises(SystemExit, match="has no wheel"):
        requirement("a-b==2.0", files)
