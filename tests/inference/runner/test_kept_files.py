"""`vesal -i`: nothing that is read is replaced, and results of an earlier run are no scans."""

from pathlib import Path

import pytest

from tests.inference.runner.own_scans import BoxOpener, write_scan
from vesal.inference.data.errors import SeveralVolumesError, UsageError
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run


def vesal(*arguments: object, opener: BoxOpener | None = None) -> int:
    """The command without its process, on a network that finds boxes."""
    return run(read_settings([str(each) for each in arguments], {}), opener or BoxOpener())


@pytest.mark.parametrize("name", ["a.nii.gz", "a_seg.nii.gz", "a_seg.json", "a.json"])
def test_a_report_replaces_nothing_that_is_read_or_made(tmp_path: Path, name: str) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text('{"1": "liver", "instance_label": 0}')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="would replace"):
        vesal("-i", scan, "-p", "liver", "--report", tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_label_file_does_not_replace_prompts_beside_the_scan(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    prompts = tmp_path / "a.json"
    prompts.write_text('{"1": "liver", "instance_label": 0}')
    with pytest.raises(UsageError, match="would replace"):
        vesal("-i", scan, "-o", tmp_path / "a.nii")
    assert "liver" in prompts.read_text()


def test_files_of_a_pattern_leave_results_out(tmp_path: Path) -> None:
    """As a shell hands them over, masks too."""
    write_scan(tmp_path / "a.nii.gz")
    assert vesal("-i", tmp_path / "a.nii.gz", "-p", "liver", "--separate") == 0
    opener = BoxOpener()
    assert vesal("-i", *sorted(tmp_path.rglob("*.nii.gz")), "-p", "liver", opener=opener) == 0
    assert len(opener.model.asked) == 1


@pytest.mark.parametrize("option", ["--series=1.2", "--level=1", "--volume=0"])
def test_skip_existing_knows_what_was_chosen(tmp_path: Path, option: str) -> None:
    scan, opener = write_scan(tmp_path / "a.nii.gz"), BoxOpener()
    assert vesal("-i", scan, "-p", "liver") == 0
    assert vesal("-i", scan, "-p", "liver", "--skip-existing", option, opener=opener) == 0
    assert len(opener.model.asked) == 1


def test_skip_existing_knows_the_text_vectors(tmp_path: Path) -> None:
    scan, vectors = write_scan(tmp_path / "a.nii.gz"), tmp_path / "own.npz"
    line = ("-i", scan, "-p", "liver", "--skip-existing", "--text-embeddings", vectors)
    for content, asked in (b"one", 1), (b"one", 0), (b"other", 1):
        vectors.write_bytes(content)
        opener = BoxOpener()
        assert vesal(*line, opener=opener) == 0
        assert len(opener.model.asked) == asked


def test_several_volumes_name_the_option() -> None:
    with pytest.raises(SeveralVolumesError, match="`volume` 0 to "):
        chosen_volume("a", 3, None)


@pytest.mark.parametrize("end", [".nii.gz", ".json", ".ctbl", ".label"])
def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, end: str) -> None:
    """Files of an earlier run are."""
    scan, other = write_scan(tmp_path / "a.nii.gz"), tmp_path / f"a_seg{end}"
    other.write_bytes(b"{}")
    with pytest.raises(UsageError, match="a_seg.* not written by vesal"):
        vesal("-i", scan, "-p", "liver")
    assert sorted(tmp_path.iterdir()) == [scan, other] and other.read_bytes() == b"{}"
    other.unlink()
    assert [vesal("-i", scan, "-p", "liver") for _ in range(2)] == [0, 0]
