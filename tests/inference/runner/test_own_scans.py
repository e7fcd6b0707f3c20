"""`vesal -i SCAN -p PROMPT ...`: which files are read and written, and what is refused before any is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import run_command, write_case
from tests.inference.io.written_dicom import write_series
from tests.inference.runner.own_scans import AFFINE, INNER, OUTER, SHAPE, BoxOpener, nifti, volume, write_scan
from vesal.inference.data.errors import UsageError
from vesal.inference.io.file_axes import axes_of_affine
from vesal.inference.io.npz_labels import holds_npz_labels
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run

EXPECTED = np.zeros(SHAPE, np.uint8)
EXPECTED[OUTER] = 2
EXPECTED[INNER] = 1


def vesal(*arguments: object, opener: BoxOpener | None = None) -> int:
    """The command without its process, on a network that finds boxes."""
    return run(read_settings([str(each) for each in arguments], {}), opener or BoxOpener())


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stored(path: Path) -> np.ndarray:
    """(D,H,W) of a NIfTI file as stored."""
    return np.asarray(nifti(path).dataobj).transpose()


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_scan_gets_its_label_map_beside_it(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    opener = BoxOpener()

    assert vesal("-i", scan, "-p", "liver", "left kidney", opener=opener) == 0

    assert opener.model.asked == [("liver", "left kidney")]
    np.testing.assert_array_equal(stored(tmp_path / "scan_seg.nii.gz"), EXPECTED)
    np.testing.assert_allclose(nifti(tmp_path / "scan_seg.nii.gz").affine, AFFINE)
    names = ["report", "scan.nii.gz", "scan_seg.ctbl", "scan_seg.json", "scan_seg.label", "scan_seg.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert told(tmp_path / "report" / "report.json")["cases"][0]["state"] == "ok"
    labels = told(tmp_path / "scan_seg.json")["labels"]
    assert [(each["value"], each["name"]) for each in labels] == [(1, "liver"), (2, "left kidney")]


def test_an_npz_too(tmp_path: Path) -> None:
    case = write_case(tmp_path / "a.npz")
    assert vesal("-i", case, "-p", "spleen") == 0
    assert holds_npz_labels(tmp_path / "a_seg.npz", (6, 7, 8))
    assert vesal("-i", case, "-p", "spleen", "-o", tmp_path / "b.nii") == 0
    assert nifti(tmp_path / "b.nii").header.get_zooms() == (1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("output", "written"), [("out.nii", "out.nii"), ("deep/out", "deep/out/a_seg.nii.gz")]
)
def test_output_is_a_file_or_a_folder(tmp_path: Path, output: str, written: str) -> None:
    scan = write_scan(tmp_path / "in" / "a.nii.gz")
    assert vesal("-i", scan, "-o", tmp_path / output, "-p", "liver", "spleen") == 0
    np.testing.assert_array_equal(stored(tmp_path / written), EXPECTED)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("given", ["files", "folder", "pattern"])
def test_several_scans(tmp_path: Path, given: str) -> None:
    """None twice; label maps of a run before are no scans."""
    scans = [write_scan(tmp_path / f"{name}.nii.gz") for name in "ba"]
    inputs = {"files": [*scans, scans[0]], "folder": [tmp_path], "pattern": [tmp_path / "*.nii.gz"]}[given]
    for _ in range(2):
        opener = BoxOpener()
        assert vesal("-i", *inputs, "-p", "liver", opener=opener) == 0
        assert len(opener.model.asked) == 2
    assert {p.name for p in tmp_path.glob("*_seg.nii.gz")} == {"a_seg.nii.gz", "b_seg.nii.gz"}


def test_scans_beside_a_series_are_cases_too(tmp_path: Path) -> None:
    """In a folder with a series below, or with its files beside them, nothing is dropped."""
    stored_, axes = volume().astype(np.int16), axes_of_affine("a", SHAPE, AFFINE)[0]
    for name, series in (("below", "series"), ("beside", ".")):
        folder = tmp_path / name
        write_scan(folder / "a.nii.gz")
        write_series(folder / series, stored_, axes)
        opener = BoxOpener()
        assert vesal("-i", folder, "-o", tmp_path / f"out {name}", "-p", "liver", opener=opener) == 0
        assert len(opener.model.asked) == 2


def test_a_table_says_what_is_asked_for_in_each(tmp_path: Path) -> None:
    for name in "ab":
        write_scan(tmp_path / f"{name}.nii.gz")
    table = tmp_path / "cases.tsv"
    table.write_text(
        "prompts\tpath\tmodality\toutput\nliver; left kidney\ta.nii.gz\tMRI\tout/first.nii\n"
        "tumor, of the liver\tb.nii.gz\t\t\n"
    )
    opener = BoxOpener()
    assert vesal("--prompts", table, "--modality", "CT", opener=opener) == 0
    assert opener.model.asked == [("liver", "left kidney"), ("tumor, of the liver",)]
    assert opener.model.modalities == [{"MR"}, {"CT"}]
    assert (tmp_path / "out" / "first.nii").is_file() and (tmp_path / "b_seg.nii.gz").is_file()

    opener = BoxOpener()
    assert vesal("--prompts", table, "-i", tmp_path / "b.nii.gz", opener=opener) == 0
    assert opener.model.asked == [("tumor, of the liver",)]


@pytest.mark.parametrize(
    "table",
    [
        "",
        "a.nii.gz\tliver\n",
        "path\na.nii.gz\n",
        "path\tprompts\tcolour\na.nii.gz\tliver\tred\n",
        "path\tprompts\n",
        "path\tprompts\na.nii.gz\t ; \n",
        "path\tprompts\na.nii.gz\tliver\tCT\n",
        "path\tprompts\na.nii.gz\tliver\na.nii.gz\tspleen\n",
        "path\tprompts\nb.nii.gz\tliver\n",
        "path\tprompts\tmodality\na.nii.gz\tliver\tX-ray of what\n",
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, table: str) -> None:
    write_scan(tmp_path / "a.nii.gz")
    (tmp_path / "cases.tsv").write_text(table)
    before = everything(tmp_path)
    with pytest.raises(UsageError):
        vesal("--prompts", tmp_path / "cases.tsv")
    assert everything(tmp_path) == before


REFUSED = [
    "-i {a} -p liver --seperate",
    "-i {a} -p liver --weights nanoo",
    "-i {a} -p liver --modality XYZ",
    "-i {a} -p liver --prompts {a}",
    "-i {a} -p liver --volume -1",
    "-i {a} -p liver --probabilities float64",
    "-i {a} -p liver --dicom-seg",
    "-i {a} -p liver --stop-at-error --keep-going",
    "-i {a} -p liver -o {a}",
    "-i {a} -p liver -o {link}",
    "-i {a} -p liver -o {folder}/out.nii.g",
    "-i {a} -p liver -o {folder}/out.txt",
    "-i {a} -p liver -o {folder}/out.docx.nrd.nhdr",
    "-i {a} {b} -p liver -o {folder}/one.nii.gz",
    "-i {a} {folder}/missing.nii.gz -p liver",
    "-i {folder}/c*.nii.gz -p liver",
    "-i {a}",
    "-i {a} --instances",
    "-i {a} -p",
    "-p liver -o {folder}/out",
    "{folder} {folder}/out -i {a} -p liver",
    "{folder} {folder}/out -p liver --separate",
    "-i {b} {twin} -p liver -o {folder}/new",
]


@pytest.mark.parametrize("line", REFUSED)
def test_a_mistake_costs_no_file(tmp_path: Path, line: str) -> None:
    """Exit code 2, and nothing is made, written or replaced."""
    paths = {name: write_scan(tmp_path / f"{name}.nii.gz") for name in "ab"}
    paths["twin"] = write_scan(tmp_path / "twin" / "b.nii.gz")
    paths["link"] = tmp_path / "link.nii.gz"
    paths["link"].hardlink_to(paths["a"])
    write_scan(tmp_path / "a_seg.nii.gz")
    before = everything(tmp_path)

    assert run_command(*(part.format(folder=tmp_path, **paths) for part in line.split())) == 2

    assert everything(tmp_path) == before
    assert not (tmp_path / "new").exists() and not (tmp_path / "out").exists()


def test_a_label_file_does_not_replace_the_prompts(tmp_path: Path) -> None:
    """`a_seg.json` is written beside the label map."""
    scan = write_scan(tmp_path / "a.nii.gz")
    prompts = tmp_path / "a_seg.json"
    prompts.write_text('{"1": "liver", "instance_label": 0}')
    with pytest.raises(UsageError, match="would replace"):
        vesal("-i", scan, "--prompts", prompts)
    assert told(prompts)["1"] == "liver"


def test_scans_that_fail_cost_no_other(tmp_path: Path) -> None:
    """Without a label map of zeros, and with the one of before."""
    write_scan(tmp_path / "a.nii.gz", np.minimum(volume(), 149))
    (tmp_path / "b.nii.gz").write_bytes(b"no scan")
    write_scan(tmp_path / "c.nii.gz")
    assert vesal("-i", tmp_path, "-p", "liver", "spleen") == 1
    assert [path.name for path in tmp_path.glob("*_seg.nii.gz")] == ["c_seg.nii.gz"]
    cases = told(tmp_path / "report" / "report.json")["cases"]
    assert [case["state"] for case in cases] == ["fell back", "fell back", "ok"]


def test_stop_at_error(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", np.minimum(volume(), 149))
    write_scan(tmp_path / "b.nii.gz")
    assert vesal("-i", tmp_path, "-p", "liver", "--stop-at-error") == 1
    report = told(tmp_path / "report" / "report.json")
    assert [case["state"] for case in report["cases"]] == ["fell back", "not run"]
    assert report["ended"] == "stopped at the first error"
    assert not (tmp_path / "b_seg.nii.gz").exists()


def test_ctrl_c_leaves_finished_scans(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz")
    write_scan(tmp_path / "b.nii.gz", np.minimum(volume(), 148))
    write_scan(tmp_path / "c.nii.gz")
    assert vesal("-i", tmp_path, "-p", "liver") == 130
    assert [path.name for path in tmp_path.glob("*_seg.nii.gz")] == ["a_seg.nii.gz"]
    opener = BoxOpener()
    assert (
        vesal(
            "-i",
            tmp_path / "a.nii.gz",
            tmp_path / "c.nii.gz",
            "-p",
            "liver",
            "--skip-existing",
            opener=opener,
        )
        == 0
    )
    assert len(opener.model.asked) == 1


@pytest.mark.parametrize(
    "damage", ["nothing", "cut", "gone", "no names", "other prompts", "other weights", "masks"]
)
def test_skip_existing_skips_what_is_whole(tmp_path: Path, damage: str) -> None:
    scan, opener = write_scan(tmp_path / "a.nii.gz"), BoxOpener()
    assert vesal("-i", scan, "-p", "liver") == 0
    labels, more, prompt = tmp_path / "a_seg.nii.gz", [], "liver"
    if damage == "cut":
        labels.write_bytes(labels.read_bytes()[:-9])
    elif damage == "gone":
        labels.unlink()
    elif damage == "no names":
        (tmp_path / "a_seg.ctbl").unlink()
    elif damage == "other prompts":
        prompt = "spleen"
    elif damage == "other weights":
        more = ["--weights", "other"]
    elif damage == "masks":
        more = ["--separate"]
    assert vesal("-i", scan, "-p", prompt, "--skip-existing", *more, opener=opener) == 0
    assert len(opener.model.asked) == (0 if damage == "nothing" else 1)
    state = told(tmp_path / "report" / "report.json")["cases"][0]["state"]
    assert state == ("skipped" if damage == "nothing" else "ok")


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    before = everything(tmp_path)
    assert vesal("-i", scan, "-p", "liver", "-o", tmp_path / "new", "--dry-run") == 0
    assert everything(tmp_path) == before and not (tmp_path / "new").exists()
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["case", "voxels", "modality", "prompts", "windows", "seconds", "MB", "output"]
    assert row.split()[:2] == ["a", "6x8x10"] and row.split()[4] == "3"


def test_dry_run_tells_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(b"no scan")
    assert vesal("-i", tmp_path, "-p", "liver", "--dry-run") == 1
    assert "b.nii.gz cannot be run: NiftiError" in capsys.readouterr().out


def test_separate_masks_are_whole(tmp_path: Path) -> None:
    """The label map has a voxel under one id, the mask of each prompt all of its own."""
    scan = write_scan(tmp_path / "a.nii.gz")
    assert vesal("-i", scan, "-p", "left kidney", "kidneys", "--separate") == 0
    inner, outer = np.zeros(SHAPE), np.zeros(SHAPE)
    inner[INNER], outer[OUTER] = 1, 1
    np.testing.assert_array_equal(stored(tmp_path / "a_seg" / "1_left_kidney.nii.gz"), inner)
    np.testing.assert_array_equal(stored(tmp_path / "a_seg" / "2_kidney.nii.gz"), outer)
    np.testing.assert_array_equal(stored(tmp_path / "a_seg.nii.gz"), EXPECTED)


def test_instances_have_names_of_their_own(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    assert vesal("-i", scan, "-p", "cell nucleus", "--instances") == 0
    content = told(tmp_path / "a_seg.json")
    assert content["instances"] is True
    assert [each["name"] for each in content["labels"]] == ["cell nucleus 1"]


def test_report_goes_where_it_is_wanted(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    assert vesal("-i", scan, "-p", "liver", "--report", tmp_path / "r.json") == 0
    assert told(tmp_path / "r.json")["exit_code"] == 0 and not (tmp_path / "report").exists()


def test_a_page_to_look_at_is_beside_the_report(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    write_scan(scans[1], np.full(SHAPE, 149, np.uint8))
    assert vesal("-i", *scans, "-p", "liver", "left kidney") == 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 3 and "left kidney" in page
    assert "There is no picture, as the case has no result." in page
    assert "RuntimeError: the network broke" in page


def test_a_run_that_skips_all_leaves_the_page(tmp_path: Path) -> None:
    line = ("-i", write_scan(tmp_path / "a.nii.gz"), "-p", "liver", "--skip-existing")
    assert vesal(*line) == 0
    page = tmp_path / "report" / "report.html"
    before = page.read_bytes()
    assert vesal(*line) == 0 and page.read_bytes() == before
    assert told(tmp_path / "report" / "report.json")["cases"][0]["state"] == "skipped"


@pytest.mark.parametrize("option", [(), ("--page",)])
def test_the_contract_writes_a_page_only_where_it_is_wanted(tmp_path: Path, option: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    assert vesal(tmp_path / "in", tmp_path / "out", *option) == 0
    assert (tmp_path / "report.html").is_file() == bool(option)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npz"]


def test_the_contract_takes_prompts_of_the_command_line_too(tmp_path: Path) -> None:
    """With folders as in the container nothing but label maps is written there."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    opener = BoxOpener()
    assert vesal(tmp_path / "in", tmp_path / "out", "-p", "spleen", opener=opener) == 0
    assert opener.model.asked == [("spleen",)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npz"]
    assert (tmp_path / "report.json").is_file()


def test_same_input_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        scan = write_scan(tmp_path / name / "a.nii.gz")
        assert vesal("-i", scan, "-p", "liver", "spleen", "--separate") == 0
        found = everything(tmp_path / name)
        for timed in ("report.json", "report.html"):  # they tell seconds
            del found[f"report/{timed}"]
        files.append(found)
    assert files[0] == files[1]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_box_alone_is_enough_to_ask(tmp_path: Path, more: list[str]) -> None:
    """Without a sentence anywhere: a prompt without a name."""
    scan, opener = write_scan(tmp_path / "a.nii.gz"), BoxOpener()
    assert vesal("-i", scan, "--box", "1=1,2,3,5,7,9", *more, opener=opener) == 0
    assert opener.model.asked == [("",)]
    assert (tmp_path / "a_seg.nii.gz").exists() != bool(more)
