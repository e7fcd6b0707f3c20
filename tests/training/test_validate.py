"""Scores of a run: the tables, what the manifest then covers, and which cases are looked at."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scores need scipy")
pytest.importorskip("torch", reason="the made volumes import the network's module")

from tests.inference.fake_models import make_model  # noqa: E402
from tests.training.made import PROMPTS, made_volume, rule, write_volume  # noqa: E402
from vesal.inference.data.errors import UsageError  # noqa: E402
from vesal.inference.planning.manifest import CoveredTarget  # noqa: E402
from vesal.training.coverage import known_targets, tell_shown, write_scores  # noqa: E402
from vesal.training.floors import Floor, floors_table, judge, read_floors  # noqa: E402
from vesal.training.measure.runs import covering, find_cases, read_labelled  # noqa: E402
from vesal.training.measure.validation import report, validate  # noqa: E402
from vesal.training.scores import Row, not_covered_table, set_table, table  # noqa: E402

LIVER, SPLEEN = ("liver", None, "CT"), ("spleen", None, "CT")


def row(target: str, coarse: float, final: float, **changes: object) -> Row:
    return replace(Row("CT_Set", target, target, None, "CT", coarse, final), **changes)


def cells(text: str) -> list[list[str]]:
    """Rows of a Markdown table without its header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def write_manifest(folder: Path, *names: str, sides: tuple[str, ...] = ()) -> Path:
    targets = [{"concept": n, "side": None, "modality": "CT", "dsc": None} for n in names]
    targets += [{"concept": "kidney", "side": s, "modality": "CT", "dsc": None} for s in sides]
    path = folder / "manifest.json"
    path.write_text(json.dumps({"name": "x", "targets": targets}))
    return path


def listed(path: Path, key: str) -> list[tuple[str, float | None]]:
    return [(t["concept"], t["dsc"]) for t in json.loads(path.read_text())[key]]


def test_the_table_holds_the_mean_of_each_covered_target() -> None:
    rows = [row("liver", 0.2, 0.4), row("liver", 0.4, 0.8, f1=0.5), row("aorta", 0.0, 0.1)]
    rows.append(row("spleen", 0.0, 0.0, covered=False))
    assert cells(table(rows)) == [
        ["CT_Set", "aorta", "1", "0.000", "0.100", ""],
        ["CT_Set", "liver", "2", "0.300", "0.600", "0.500"],
    ]
    assert cells(not_covered_table(rows)) == [["CT_Set", "spleen", "1"]]


def test_a_set_has_the_mean_of_its_targets_and_one_with_what_it_lacks_as_0() -> None:
    """Liver 0.6 in two cases and aorta 0.3 in one are 0.45; with the spleen, which is not covered, 0.3."""
    rows = [
        row("liver", 0.2, 0.4, case="a"),
        row("liver", 0.2, 0.8, case="b"),
        row("aorta", 0.1, 0.3, case="a"),
    ]
    rows.append(row("spleen", 0.0, 0.0, covered=False, case="a"))
    assert cells(set_table(rows)) == [["CT_Set", "2", "2 of 3", "0.150", "0.450", "", "0.300"]]


def test_a_floor_takes_the_mean_of_the_named_targets_with_those_not_covered_as_0() -> None:
    floor = Floor("organs", "CT_Set", ("liver", "aorta", "spleen"), "final", 0.3, 0.9)
    rows = [row("liver", 0, 0.6), row("liver", 0, 1.0), row("aorta", 0, 0.4), row("other", 0, 0.0)]
    rows += [row("spleen", 0, 0.0, covered=False), row("liver", 0, 0.0, dataset="CT_Other")]
    judged = judge(floor, rows)
    assert judged.value == pytest.approx((0.8 + 0.4 + 0.0) / 3)
    assert (judged.verdict, judged.not_covered) == ("met", ("spleen",))


@pytest.mark.parametrize(
    ("final", "verdict"), [(0.49, "missed"), (0.5, "met"), (0.8, "goal met"), (None, "not measured")]
)
def test_a_floor_is_met_from_its_value_on(final: float | None, verdict: str) -> None:
    floor = Floor("organ", "CT_Set", ("liver",), "final", 0.5, 0.8)
    assert judge(floor, [] if final is None else [row("liver", 0, final)]).verdict == verdict


def test_a_mean_without_one_of_its_targets_meets_nothing_and_says_which() -> None:
    floor = Floor("organs", "CT_Set", ("liver", "aorta"), "final", 0.3, None)
    assert judge(floor, [row("liver", 0, 0.9)]).verdict == "not measured"
    assert "not in these cases: aorta" in floors_table([row("liver", 0, 0.9)], [floor])


def test_the_floors_name_targets_that_the_sets_label(shared: Path) -> None:
    """A misspelt set or target would never be measured."""
    for floor in read_floors():
        paths = sorted((shared / "data" / "val" / floor.set).glob("*.npz"))[:3]
        assert set(floor.targets) <= {p.target for path in paths for p in read_labelled(path).prompts}, floor


def test_only_what_exceeds_one_half_is_covered_and_may_come_back(tmp_path: Path) -> None:
    """Liver 0.6 stays, aorta at the very threshold and the unseen spleen go; a later aorta 0.9 comes back."""
    path = write_manifest(tmp_path, "aorta", "liver", "spleen")
    write_scores(tmp_path, [row("liver", 0.3, 0.6), row("aorta", 0.0, 0.5)], least=0.5)
    assert listed(path, "targets") == [("liver", 0.6)]
    assert listed(path, "not_covered") == [("aorta", 0.5), ("spleen", None)]
    assert json.loads(path.read_text())["name"] == "x"

    write_scores(tmp_path, [row("aorta", 0.8, 0.9)], least=0.5)
    assert listed(path, "targets") == [("liver", 0.6), ("aorta", 0.9)]


def test_a_lesion_is_covered_by_its_instance_f1(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "multiple sclerosis lesion", "metastasis", "liver")
    rows = [row("multiple sclerosis lesion", 0.1, 0.4, f1=0.31), row("metastasis", 0.1, 0.4, f1=0.3)]
    write_scores(tmp_path, [*rows, row("liver", 0.1, 0.4, f1=0.9)], least=0.5)
    assert listed(path, "targets") == [("multiple sclerosis lesion", 0.4)]
    assert [name for name, _ in listed(path, "not_covered")] == ["metastasis", "liver"]


def test_after_a_training_scores_of_the_weights_before_are_forgotten(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "aorta", "liver")
    write_scores(tmp_path, [row("liver", 0.3, 0.6), row("aorta", 0.0, 0.7)], least=0.5)
    write_scores(tmp_path, [row("liver", 0.3, 0.8)], least=0.5, forget=True)
    assert listed(path, "targets") == [("liver", 0.8)]
    assert listed(path, "not_covered") == [("aorta", None)]


def test_a_target_left_empty_is_no_measurement(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "liver")
    write_scores(tmp_path, [row("liver", 0.3, 0.6)], least=0.5)
    write_scores(tmp_path, [row("liver", 0.0, 0.0, covered=False)], least=0.5)
    assert listed(path, "targets") == [("liver", 0.6)]


def test_labelled_targets_that_the_manifest_does_not_name_are_added(tmp_path: Path) -> None:
    """Spleen measured 0.7, aorta never asked; kidney without side is run as its two sides and not added."""
    path = write_manifest(tmp_path, "liver", sides=("left", "right"))
    rows = [row("spleen", 0.1, 0.7), row("aorta", 0, 0, covered=False), row("kidney", 0.1, 0.9)]
    write_scores(tmp_path, rows, least=0.5)
    assert listed(path, "targets") == [("spleen", 0.7)]
    assert listed(path, "not_covered") == [
        ("liver", None),
        ("kidney", None),
        ("kidney", None),
        ("aorta", None),
    ]
    assert ("aorta", None, "CT") in known_targets(tmp_path)


def test_real_cases_come_last_with_their_own_truth(tmp_path: Path) -> None:
    for name in ("val/B/b1.npz", "val/B/b2.npz", "val/A/a1.npz", "real/imgs/r.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_cases(tmp_path / "val", 1, tmp_path / "real")
    assert [path.name for path, _ in found] == ["a1.npz", "b1.npz", "r.npz"]
    assert [truth for _, truth in found] == [None, None, tmp_path / "real/gts/r.npz"]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no SET/NAME.npz"):
        find_cases(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        find_cases(tmp_path / "absent")


def test_what_is_not_covered_scores_only_when_everything_is_asked_for(tmp_path: Path) -> None:
    """The fake network finds both cubes exactly; its profile covers the liver alone."""
    write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz")
    model = make_model(targets=[LIVER])
    look = validate(model, tmp_path)
    rows, seconds = look.rows, look.seconds
    assert [(r.target, r.covered, r.final) for r in rows] == [("liver", True, 1.0), ("spleen", False, 0.0)]
    assert len(seconds) == 1 and "| CT_Made | spleen | 1 |" in report(look, "fake")

    rows = validate(model, tmp_path, everything=True).rows
    assert [(r.target, r.covered, r.final) for r in rows] == [("liver", True, 1.0), ("spleen", True, 1.0)]
    assert [t.concept for t in model.profile.targets] == ["liver"]  # the engine itself is as before


def test_a_case_that_ran_out_of_time_is_named(tmp_path: Path) -> None:
    """Its scores tell of the machine, not of the weights."""
    write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz")
    look = validate(make_model(), tmp_path, budget_s=1e-6)
    assert "time ran short" in look.short["CT_Made_1"]
    assert "- CT_Made_1: time ran short" in report(look, "fake")
    assert validate(make_model(), tmp_path).short == {}


def test_objects_have_the_official_f1_and_dice_as_one_foreground(tmp_path: Path) -> None:
    """Both cubes are labelled as objects of one prompt; the bright one is found, exactly."""
    path = write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz", {"1": PROMPTS["1"], "instance_label": 1})
    with np.load(path) as archive:
        sizes = [int((archive["gts"] == i).sum()) for i in (1, 3)]
    rows = validate(make_model(), tmp_path).rows
    assert [(r.target, r.f1) for r in rows] == [("liver", pytest.approx(2 / 3))]
    assert rows[0].final == pytest.approx(2 * sizes[0] / (2 * sizes[0] + sizes[1]))


def test_objects_that_share_an_id_are_told_apart(tmp_path: Path) -> None:
    """Of two cubes the bright one is found: one of two objects, whatever their ids."""
    path = write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz", {"1": PROMPTS["1"], "instance_label": 1})
    with np.load(path, allow_pickle=True) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **(arrays | {"gts": (arrays["gts"] > 0).astype(np.uint8)}))
    rows = validate(make_model(), tmp_path).rows
    assert [r.f1 for r in rows] == [pytest.approx(2 / 3)]


def test_what_is_run_as_two_sides_is_not_covered_without_one() -> None:
    model = make_model()
    both, one = (
        covering(model, [("kidney", None, "CT")]),
        covering(model, [("cell", None, "MR"), ("rib", None, "CT")]),
    )
    assert both.profile.targets == model.profile.targets
    assert one.profile.targets == (
        *model.profile.targets,
        CoveredTarget("cell", None, "MR"),
    )  # no vector of a rib


@pytest.mark.parametrize(
    ("flips", "expected"), [("pairs", True), ("any", True), ("none", False), ("mirror 2", False)]
)
def test_only_what_was_shown_turned_may_be_turned(tmp_path: Path, flips: str, expected: bool) -> None:
    path = write_manifest(tmp_path, "liver", "aorta")
    volume = made_volume(tmp_path / "case")
    tell_shown(tmp_path, [volume], {volume.dataset: replace(rule(), flips=flips)})
    assert [t["any_orientation"] for t in json.loads(path.read_text())["targets"]] == [expected, False]


def test_one_set_that_was_not_turned_is_enough(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "liver")
    volume = made_volume(tmp_path / "case")
    rules = {volume.dataset: replace(rule(), flips="any"), "Other": replace(rule(), flips="none")}
    tell_shown(tmp_path, [volume, replace(volume, dataset="Other"), volume], rules)
    assert [t["any_orientation"] for t in json.loads(path.read_text())["targets"]] == [False]


@pytest.mark.parametrize(
    ("flips", "expected"), [("pairs", False), ("any", True), ("none", False), ("mirror 2", False)]
)
def test_what_one_set_shows_mirrored_under_its_own_name_may_be_mirrored(
    tmp_path: Path, flips: str, expected: bool
) -> None:
    path = write_manifest(tmp_path, "liver", "aorta")
    volume = made_volume(tmp_path / "case")
    rules = {volume.dataset: replace(rule(), flips=flips), "Other": replace(rule(), flips="mirror 2")}
    tell_shown(tmp_path, [volume, replace(volume, dataset="Other")], rules)
    assert [t["mirrored"] for t in json.loads(path.read_text())["targets"]] == [expected, False]


def test_the_thickest_slices_of_a_target_are_told(tmp_path: Path) -> None:
    """In-plane voxels of 4 mm beside slices of 2.5 mm are no slices of 4 mm."""
    path = write_manifest(tmp_path, "liver", "aorta")
    volume, spacings = made_volume(tmp_path / "case"), [(2.5, 4.0, 4.0), (1.0, 3.0, 1.0), (1.0, 1.0, 1.0)]
    tell_shown(tmp_path, [replace(volume, spacing_dhw_mm=s) for s in spacings], {volume.dataset: rule()})
    assert [t["thickest_slice_mm"] for t in json.loads(path.read_text())["targets"]] == [3.0, None]
