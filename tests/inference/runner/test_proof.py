"""What lies beside a label map tells the next run what is ours, what is whole, and of what it was made."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.io.written import canonical_axes
from tests.inference.io.written_dicom import changed, write_series
from tests.inference.runner.own_scans import SHAPE, BoxModel, BoxOpener, volume, write_scan
from vesal.inference.data.case import Case
from vesal.inference.data.errors import UsageError
from vesal.inference.data.prompt import Prompt
from vesal.inference.runner import own_inputs
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run


def vesal(*arguments: object, opener: BoxOpener | None = None) -> int:
    """The command without its process, on a network that finds boxes."""
    return run(read_settings([str(each) for each in arguments], {}), opener or BoxOpener())


def runs(*arguments: object) -> int:
    """How many cases are run with `--skip-existing`."""
    opener = BoxOpener()
    assert vesal(*arguments, "--skip-existing", opener=opener) == 0
    return len(opener.model.asked)


def test_another_modality_or_scan_is_run_again(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii")
    line = ("-i", scan, "-p", "liver", "--modality")
    assert vesal(*line, "CT") == 0
    assert [runs(*line, "CT"), runs(*line, "MR"), runs(*line, "MR")] == [0, 1, 0]
    size, other = scan.stat(), volume()
    other[0, 0, 0] = 1
    write_scan(scan, other)
    os.utime(scan, ns=(size.st_atime_ns, size.st_mtime_ns))
    assert scan.stat().st_size == size.st_size
    assert [runs(*line, "MR"), runs(*line, "MR")] == [1, 0]
    os.utime(scan, ns=(1, 1))
    assert runs(*line, "MR") == 0, "the same content at another time"


def test_prompts_of_files_that_change_are_run_again(tmp_path: Path) -> None:
    scan, beside, other = write_scan(tmp_path / "a.nii"), tmp_path / "a.json", tmp_path / "other.json"
    beside.write_text('{"1": "liver", "instance_label": 0}')
    assert vesal("-i", scan) == 0
    assert runs("-i", scan) == 0
    beside.write_text('{"1": "spleen", "instance_label": 0}')
    other.write_text('{"1": "spleen", "instance_label": 0}')
    assert [runs("-i", scan), runs("-i", scan), runs("-i", scan, "--prompts", other)] == [1, 0, 1]
    assert runs("-i", scan, "--prompts", other, "--box", "1=0,0,0,4,4,4") == 1


def test_another_version_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_scan(tmp_path / "a.nii")
    assert vesal("-i", scan, "-p", "liver") == 0
    monkeypatch.setattr(own_inputs, "__version__", "0.0.1")
    assert runs("-i", scan, "-p", "liver") == 1


def test_a_series_is_compared_by_all_its_images(tmp_path: Path) -> None:
    stored = np.full((5, 6, 7), 60, np.int16)
    folder = write_series(tmp_path / "in" / "ct", stored, canonical_axes())
    line = ("-i", folder, "-p", "liver", "-o", folder)
    assert vesal(*line) == 0
    assert runs(*line) == 0, "what is written into the folder is no part of the scan"
    changed(folder, 3, PixelData=np.full((6, 7), 61, np.int16).tobytes())
    assert [runs(*line), runs(*line)] == [1, 0]


def test_of_large_scans_sizes_and_blocks_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one file blocks all over it, of many each one's first."""
    monkeypatch.setattr(own_inputs, "WHOLE_BYTES", 300)
    monkeypatch.setattr(own_inputs, "BLOCK_BYTES", 8)
    scan = write_scan(tmp_path / "a.nii")
    folder = write_series(tmp_path / "ct", np.full((5, 6, 7), 60, np.int16), canonical_axes())
    for case in (scan, folder):
        line = ("-i", case, "-p", "liver")
        assert vesal(*line) == 0
        assert runs(*line) == 0
    raw = bytearray(scan.read_bytes())
    raw[-3] ^= 1
    scan.write_bytes(bytes(raw))
    assert runs("-i", scan, "-p", "liver") == 1
    changed(folder, 5, SeriesDescription="another length")
    assert runs("-i", folder, "-p", "liver") == 1


def test_a_label_map_without_its_json_stays_where_results_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be anybody's: replaced it is never, and it ends no run."""
    write_scan(tmp_path / "a.nii.gz")
    write_scan(tmp_path / "b.nii.gz")
    other = tmp_path / "a_seg.nii.gz"
    other.write_bytes(b"of another program")
    assert runs("-i", tmp_path, "-p", "liver") == 1
    assert other.read_bytes() == b"of another program" and (tmp_path / "b_seg.nii.gz").is_file()
    assert "a_seg.nii.gz is there and was not written by vesal" in caplog.text
    with pytest.raises(UsageError, match="not written by vesal"):
        vesal("-i", tmp_path, "-p", "liver")


class _Stopped(BoxModel):
    """Gives a coarse result; then the run ends from the keyboard."""

    def segment_case(self, case: Case, prompts: tuple[Prompt, ...], *given: Any, **_: Any) -> Any:
        """See above."""
        _, save = given
        save(np.ones(case.image.shape, np.uint8))
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", [False, True], ids=["new", "again"])
def test_a_run_goes_on_over_the_coarse_result_of_one_that_was_stopped(tmp_path: Path, before: bool) -> None:
    scan, line = write_scan(tmp_path / "a.nii.gz"), ("-i", tmp_path / "a.nii.gz", "-p", "liver")
    if before:
        assert vesal(*line, "--separate") == 0
    opener = BoxOpener()
    opener.model = _Stopped()
    assert vesal(*line, "--seconds", "60", opener=opener) == 130
    told = json.loads((tmp_path / "a_seg.json").read_text())
    assert (told["whole"], told["sha256"]) == (False, None) and (tmp_path / "a_seg.nii.gz").is_file()
    assert runs(*line) == 1
    assert json.loads((tmp_path / "a_seg.json").read_text())["whole"] is True
    assert scan.is_file() and vesal(*line, "--separate") == 0


@pytest.mark.parametrize("option", [["--separate"], ["--probabilities"]], ids=" ".join)
def test_a_mask_of_another_program_is_not_replaced(tmp_path: Path, option: list[str]) -> None:
    scan, folder = write_scan(tmp_path / "a.nii.gz"), tmp_path / "a_seg"
    folder.mkdir()
    (folder / "1_liver.nii.gz").write_bytes(b"mine")
    (folder / "3_notes.txt").write_bytes(b"no mask of these prompts")
    line = ("-i", scan, "-p", "liver", "spleen")
    with pytest.raises(UsageError, match=r"1_liver\.nii\.gz is there and was not written by vesal"):
        vesal(*line, *option)
    assert (folder / "1_liver.nii.gz").read_bytes() == b"mine" and not (tmp_path / "a_seg.nii.gz").exists()
    (folder / "1_liver.nii.gz").unlink()
    assert vesal(*line, "--separate") == 0
    assert vesal("-i", scan, "-p", "spleen", "--separate") == 0, "those of an earlier run are replaced"
    assert vesal(*line, "--separate") == 0, "also where it was not the last one"
    assert volume().shape == SHAPE and (folder / "3_notes.txt").is_file()
