"""The measurements beside networks and volumes whose answers are known."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scores need scipy")
pytest.importorskip("torch", reason="the made volumes import the network's module")

from tests.conftest import ROOT  # noqa: E402
from tests.inference.fake_models import Bright, make_model  # noqa: E402
from tests.training.made import LIVER, SHAPE, SPLEEN, write_volume  # noqa: E402
from vesal.inference.data.errors import UsageError  # noqa: E402
from vesal.inference.planning.rules import StageRule  # noqa: E402
from vesal.postprocess.components import Components  # noqa: E402
from vesal.postprocess.presence import Presence  # noqa: E402
from vesal.training.anatomy import Anatomy  # noqa: E402
from vesal.training.measure import data, finer, orientation, paraphrases, phrasings, presence, stages, swaps  # noqa: E402
from vesal.training.measure.__main__ import MEASUREMENTS, flags_of_all, make_parser  # noqa: E402
from vesal.training.measure.absent import Foreign, absent_from, read_foreign  # noqa: E402
from vesal.training.measure.results import ResultsError, fingerprint, read_json, write_json  # noqa: E402
from vesal.training.measure.runs import Labelled, read_labelled, run_case  # noqa: E402
from vesal.training.scores import score_case  # noqa: E402

LIVER_KEY, SPLEEN_KEY, CELL_KEY = (("liver", None, "CT"), ("spleen", None, "CT"), ("cell", None, "CT"))
CELL = Foreign("CT_Cells", CELL_KEY, "Cells in CT")
BODIES = {"CT_Made": frozenset({"trunk"}), "CT_Cells": frozenset({"cell"}), "CT_All": frozenset({"any"})}
ANATOMY = Anatomy(BODIES, {})


@pytest.mark.parametrize("module", ["validate", "measure.__main__"])
def test_matrix_products_have_one_thread_as_in_the_container(module: str) -> None:
    """Set before numpy is loaded; two threads add up in another order."""
    code = (
        "import os, sys, training; assert 'numpy' not in sys.modules\n"
        f"import training.{module}; assert 'numpy' in sys.modules\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.fixture
def made(tmp_path: Path) -> Labelled:
    """The volume with liver and spleen, in the set CT_Made."""
    return read_labelled(write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz"))


def cells(text: str) -> list[list[str]]:
    """Rows of a Markdown table without its header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


class EveryWhere(Bright):
    """Finds its target, and nothing of it but a presence of 0.3 in the first half of the slices."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        out = super().__call__(inputs)
        out["probability"][:] = 1.0
        out["presence"][:] = 1.0
        out["presence"][:, :, : out["presence"].shape[2] // 2] = 0.3
        return out


# Which targets a case cannot show


def test_a_target_of_another_part_of_the_body_is_absent(made: Labelled) -> None:
    profile = make_model().profile
    others = (
        CELL,
        Foreign("CT_All", ("kidney", "left", "CT"), "Left kidney"),
        Foreign("CT_Made", SPLEEN_KEY, "Spleen"),
    )
    assert absent_from(made, others, ANATOMY, profile) == [CELL]


@pytest.mark.parametrize(
    "other",
    [
        Foreign("CT_Cells", ("cell", None, "MR"), "Cells in MR"),  # of another modality, and not covered
        Foreign("CT_Cells", ("lesion", None, "CT"), "Lesion in CT"),  # not covered
        Foreign("CT_Unknown", CELL_KEY, "Cells in CT"),  # of a set that says nothing of the body
    ],
)
def test_what_is_not_covered_or_not_certain_is_not_asked(made: Labelled, other: Foreign) -> None:
    assert absent_from(made, (other,), ANATOMY, make_model().profile) == []


def test_a_target_that_some_set_sees_in_this_part_of_the_body_is_not_certainly_absent(made: Labelled) -> None:
    here = Foreign("CT_Made", CELL_KEY, "Cells in CT")
    assert absent_from(made, (CELL, here), ANATOMY, make_model().profile) == []


def test_of_many_absent_targets_the_name_of_the_case_chooses(made: Labelled) -> None:
    others = tuple(
        Foreign("CT_Cells", key, "x")
        for key in (CELL_KEY, ("kidney", "left", "CT"), ("kidney", "right", "CT"))
    )
    assert len(absent_from(made, others, ANATOMY, make_model().profile)) == 3
    chosen = absent_from(made, others, ANATOMY, make_model().profile, most=2)
    assert len(chosen) == 2 and chosen == absent_from(made, others, ANATOMY, make_model().profile, most=2)


def test_foreign_targets_come_with_the_sentence_of_their_set(made: Labelled, tmp_path: Path) -> None:
    assert [(f.dataset, f.key, f.sentence) for f in read_foreign(tmp_path)] == [
        ("CT_Made", LIVER_KEY, "Liver in abdominal CT"),
        ("CT_Made", SPLEEN_KEY, "Spleen in abdominal CT"),
    ]


def test_where_a_concept_lies_counts_more_than_what_its_sets_show(made: Labelled) -> None:
    """A kidney labelled in the trunk and elsewhere is absent from a set of another part alone."""
    kidney = Foreign("CT_Made", ("kidney", "left", "CT"), "Left kidney")
    known = Anatomy(BODIES | {"CT_Neck": frozenset({"neck"})}, {"kidney": frozenset({"abdomen"})})
    neck = replace(made, dataset="CT_Neck")
    assert absent_from(neck, (kidney,), known, make_model().profile) == [kidney]
    assert absent_from(neck, (replace(kidney, dataset="CT_All"),), ANATOMY, make_model().profile) == []


# Swaps


def test_a_swapped_prompt_is_scored_against_both_truths(made: Labelled) -> None:
    """The fake network follows the words: asked for the spleen in place of the liver it gives the spleen."""
    found = {s.replaced: s for s in swaps.inside(make_model(), made)}
    swap = found["liver"]
    assert (swap.asked, swap.own, swap.against_asked, swap.against_replaced, swap.kept) == (
        "spleen",
        1,
        1,
        0,
        0,
    )
    assert swap.voxels == np.count_nonzero(made.truth == 3) and not swap.sides and len(found) == 2


def test_a_network_that_does_not_listen_keeps_everything(made: Labelled) -> None:
    """It gives every voxel whatever is asked for."""
    swap = swaps.inside(make_model(EveryWhere()), made)[0]
    assert swap.kept == 1 and swap.voxels == made.truth.size and 0 < swap.against_replaced < 1


def test_an_absent_target_should_come_out_empty(made: Labelled) -> None:
    """`cell` looks for the liver's brightness, and so finds it in the place of nothing."""
    none = swaps.across(make_model(), made, [Foreign("CT_Cells", ("lesion", None, "CT"), "Lesion in CT")])[0]
    assert (none.voxels, none.kept) == (0, 0) and np.isnan(none.against_asked)
    some = swaps.across(make_model(), made, [CELL])[0]
    size = {i: int((made.truth == i).sum()) for i in (1, 3)}
    assert (some.voxels, some.against_asked) == (size[1], 0)
    assert some.kept == pytest.approx(size[1] / (size[1] + size[3]))
    assert cells(swaps.across_table([none, some]))[0][:5] == ["CT_Made", "cell", "1", "0", str(size[1])]


def test_pairs_are_listed_one_by_one_where_they_are_few(made: Labelled) -> None:
    rows = cells(swaps.inside_table(swaps.inside(make_model(), made)))
    assert [row[:4] for row in rows] == [
        ["CT_Made", "liver", "spleen", "1"],
        ["CT_Made", "spleen", "liver", "1"],
    ]


# Presence


def test_voxels_on_slices_without_the_target_are_counted_along_the_axis() -> None:
    truth, got = np.zeros((4, 3, 2), bool), np.zeros((4, 3, 2), bool)
    truth[1:3] = True
    got[0, 0], got[1], got[3, :2] = True, True, True  # 2 voxels before the target, 4 behind it
    assert presence.outside(got, truth, 0) == (2, 2, 6)
    assert presence.outside(got, truth, 1) == (0, 0, 0)


def test_the_filter_takes_away_slices_below_its_threshold(made: Labelled) -> None:
    """The network gives every voxel, with presence 0.3 in the first half of the 14 slices."""
    model = make_model(EveryWhere(), postprocess=(Components(), Presence(threshold=0.1)))
    shown = {
        t: presence.shown_targets(t, presence.with_threshold(model, t), made)[0] for t in (0.0, 0.1, 0.5)
    }
    assert shown[0.0].false_slices == shown[0.1].false_slices == shown[0.0].empty_slices == SHAPE[0] - 6
    assert shown[0.5].false_slices < shown[0.1].false_slices
    assert model.profile.postprocess == (Components(), Presence(threshold=0.1))
    assert presence.with_threshold(model, 0.5).profile.postprocess == (Presence(threshold=0.5), Components())
    gone = [
        presence.absent_targets(t, presence.with_threshold(model, t), made, [CELL])[0] for t in (0.0, 0.5)
    ]
    assert gone[0].voxels == made.truth.size > gone[1].voxels > 0
    rows = cells(presence.table([shown[0.0], shown[0.1]], [], shipped=0.1))
    assert [row[0] for row in rows] == ["off", "0.1, as shipped"]


# Stages


def test_both_stages_are_scored_and_timed(made: Labelled) -> None:
    rows, run = score_case(make_model(), made)
    timed = stages.timing("CT_Made", made.case.name, run)
    assert (timed.fine_views, timed.prompts, timed.voxels) == (1, 2, made.truth.size)
    assert 0 < timed.coarse_s + timed.fine_s <= timed.wall_s
    assert [row[:3] for row in cells(stages.target_table(rows))] == [
        ["CT_Made", "liver", "1"],
        ["CT_Made", "spleen", "1"],
        ["**all with both**", "mean of the targets", "2"],
    ]


# Finer scans


def test_a_finer_copy_is_the_same_patient_in_more_voxels(made: Labelled) -> None:
    copy = finer.unshrunk(made, (1.0, 0.5, 0.5))
    assert copy.case.image.shape == copy.truth.shape == (SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2])
    assert copy.case.spacing_dhw_mm == (1.0, 0.5, 0.5) and copy.case.image.dtype == np.uint8
    np.testing.assert_array_equal(copy.truth, made.truth.repeat(2, 1).repeat(2, 2))
    # A cube's inner voxels keep their intensity, and the border between two is halved between them.
    assert {40, 80, 160, 200} <= set(np.unique(copy.case.image[5]).tolist())
    back = copy.case.image.reshape(SHAPE[0], SHAPE[1], 2, SHAPE[2], 2).mean((2, 4))
    assert np.abs(back - made.case.image).mean() < 5


def test_a_finer_copy_is_scored_beside_the_case(made: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(finer.SHRUNK, "CT_Made", (1.0, 0.5, 0.5))
    model = make_model()
    given, _ = score_case(model, made)
    copy, _ = score_case(model, finer.unshrunk(made, finer.SHRUNK["CT_Made"]))
    pairs = [finer.Pair(a, replace(b, final=0.25)) for a, b in zip(given, copy, strict=True)]
    assert [row[:4] + row[-1:] for row in cells(finer.table(pairs))] == [
        ["CT_Made", "liver", "1", "1 x 0.5 x 0.5", "0.250"],
        ["CT_Made", "spleen", "1", "1 x 0.5 x 0.5", "0.250"],
    ]
    assert [row.final for row in given] == [1.0, 1.0]
    assert all(0.75 < row.final < 1 for row in copy), "the cubes have soft borders"


# Scans stored the other way round


def test_labels_turn_with_the_image(made: Labelled) -> None:
    present = [n for n in np.unique(made.truth) if n]
    assert len(present) == 2
    for axis in range(3):
        copy = orientation.reversed_case(made, axis)
        before = [np.argwhere(made.truth == n)[:, axis].mean() for n in present]
        after = [np.argwhere(copy.truth == n)[:, axis].mean() for n in present]
        assert after == pytest.approx([SHAPE[axis] - 1 - x for x in before])
        for n in present:
            np.testing.assert_array_equal(
                np.sort(copy.case.image[copy.truth == n]), np.sort(made.case.image[made.truth == n])
            )


def test_what_an_axis_costs_stands_under_it(made: Labelled) -> None:
    model = make_model()
    given, _ = score_case(model, made)
    others = [score_case(model, orientation.reversed_case(made, axis))[0] for axis in range(3)]
    spoiled = [replace(row, final=0.25) for row in others[1]]
    ways = zip(others[0], spoiled, others[2], strict=True)
    found = [orientation.Lying(row, rows) for row, rows in zip(given, ways, strict=True)]
    assert cells(orientation.table(found)) == [
        ["CT_Made", "liver", "1", "1.000", "1.000", "0.250", "1.000"],
        ["CT_Made", "spleen", "1", "1.000", "1.000", "0.250", "1.000"],
    ]


# Paraphrases


def test_phrasings_that_ask_for_something_else_are_found(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    sentences = ["Liver", "Hepatic tissue in CT", "Liver in MRI", "Spleen", "Something"]
    path.write_text(json.dumps({"CT_Made": {"1": sentences, "2": ["The liver"], "3": ["liver"]}}))
    classes = list(phrasings.classes_of_file(path))
    assert [p.text for p in classes[0].astray] == ["Liver in MRI", "Spleen", "Something"]
    row = paraphrases.per_dataset("prompts.json", classes)[0]
    counts = {key: row[key] for key in ("classes", "phrasings", "agree", "merged", "explained")}
    assert counts == {"classes": 3, "phrasings": 7, "agree": 4, "merged": 1, "explained": 0}
    assert cells(paraphrases.share_table([row]))[1][1:6] == ["**all**", "3", "7", "4", "57.14 %"]
    assert paraphrases.astray({"f": classes})[0]["got"] == "liver in MR"


def test_an_explained_exception_is_counted(shared: Path) -> None:
    """All phrasings of the real files agree, but for the ones that are explained."""
    for path in (shared / "data" / "prompts.json", *(shared / "challenge").glob("*.json")):
        rows = paraphrases.per_dataset(path.name, list(phrasings.classes_of_file(path)))
        assert rows and all(row["agree"] + row["explained"] == row["phrasings"] for row in rows)


def test_made_phrasings_of_the_shipped_targets_agree(root: Path) -> None:
    from vesal.training.coverage import known_targets

    classes = list(phrasings.made_classes(known_targets(root / "weights" / "nano")))
    assert sum(len(c.phrasings) for c in classes) > 5000
    assert [p for c in classes for p in c.astray] == []


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(UsageError, match="does not map"):
        list(phrasings.classes_of_file(tmp_path / "a.json"))
    with pytest.raises(UsageError, match="cannot be read"):
        list(phrasings.classes_of_file(tmp_path / "absent.json"))


def test_one_target_gives_the_same_bytes_in_any_words(made: Labelled, tmp_path: Path) -> None:
    """Three phrasings of liver, two of spleen: three runs; a network that listens to more would differ."""
    path = tmp_path / "prompts.json"
    words = {
        "1": ["Liver", "Liver in abdominal CT", "hepatic parenchyma"],
        "3": ["Spleen", "The spleen on CT"],
    }
    path.write_text(json.dumps({"CT_Made": words}))
    classes = list(phrasings.classes_of_file(path))
    run = paraphrases.compare(make_model(), made, classes)
    assert run and (run["runs"], run["identical"]) == (3, 3)
    assert paraphrases.compare(make_model(), made, []) is None

    sentences = dict(made.case.sentences)
    own = paraphrases.digest(make_model(), made, sentences)
    assert paraphrases.digest(make_model(), made, {**sentences, 1: "Spleen"}) != own == run["sha256"]


# Results


def test_results_belong_to_the_weights_they_were_measured_with(tmp_path: Path) -> None:
    manifest = {"files": {"weights.bin": {"sha256": "1" * 64}}, "targets": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    write_json(
        tmp_path / "r.json",
        {"fingerprint": fingerprint(tmp_path), "value": float("nan"), "rows": (0.1234567,)},
    )
    assert read_json(tmp_path / "r.json", tmp_path)["rows"] == [0.123457]
    assert read_json(tmp_path / "r.json", tmp_path)["value"] is None

    manifest["files"]["weights.bin"]["sha256"] = "2" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match="other weights"):
        read_json(tmp_path / "r.json", tmp_path)
    with pytest.raises(ResultsError, match="cannot be read"):
        read_json(tmp_path / "absent.json")


def test_the_cubes_are_where_the_tests_think() -> None:
    """The false slices above are counted by hand: the liver takes 6 of 14, the spleen 4."""
    assert (LIVER[0], SPLEEN[0]) == (slice(3, 9), slice(8, 12)) and SHAPE[0] == 14


# All of them


def test_all_measurements_are_made_as_their_own_parsers_want_them(tmp_path: Path) -> None:
    parser = make_parser()
    given = ["all", "--data", "d", "--weights", "w", "--prompts", "a", "b", "--real", "r", "--most", "2"]
    flags = flags_of_all(parser.parse_args(given))
    assert set(flags) == set(MEASUREMENTS)
    parsed = {name: parser.parse_args([name, *of]) for name, of in flags.items()}
    assert parsed["data"].data == Path("d") and parsed["swaps"].data == Path("d/val")
    assert parsed["validation"].real == parsed["stages"].real == Path("r")
    assert parsed["paraphrases"].prompts == [Path("a"), Path("b")] and parsed["presence"].most == 2


# Data


def test_volumes_and_targets_of_the_sets_are_counted(tmp_path: Path) -> None:
    for name in ("train/CT_Made/a.npz", "train/CT_Made/b.npz", "val/CT_Made/c.npz"):
        write_volume(tmp_path / name)
    write_volume(tmp_path / "val" / "CT_Other" / "d.npz", {"1": "Something", "instance_label": 0})
    for split in ("train", "val"):  # a set without weight is looked at only
        write_volume(tmp_path / split / "CT_IRCAD" / f"{split}.npz")
    sets = data.survey(tmp_path)
    assert dict(sets["CT_Made"].volumes) == {"train": 2, "val": 1}
    assert dict(sets["CT_Made"].targets) == {"liver": 3, "spleen": 3}
    assert dict(sets["CT_Other"].unknown) == {"Something": 1}
    assert dict(sets["CT_IRCAD"].volumes) == {"val": 1}
    with pytest.raises(UsageError, match="holds no train"):
        data.survey(tmp_path / "val")


def test_many_targets_are_counted_and_a_few_named() -> None:
    assert data.shown(["a", "b"]) == "a, b"
    assert data.shown([str(i) for i in range(9)]) == "9 structures, such as 0, 1, 2, 3, 4, 5, 6, 7"


def test_the_coarse_map_of_a_run_is_the_first_one_saved(made: Labelled) -> None:
    """Views that are refined one by one are saved too; they are no coarse results."""
    fine = StageRule(window_voxels=32**3, margin_factor=1.2, max_targets_per_view=1)
    model = make_model(Bright(), fine=fine)
    run = run_case(model, made.case, made.prompts)
    maps: list[np.ndarray] = []
    model.segment_case(made.case, made.prompts, save=lambda labels: maps.append(labels.copy()))
    assert len([s for s in run.result.stages if s.stage == "fine"]) == len(maps) == 2
    assert np.array_equal(run.coarse, maps[0])
