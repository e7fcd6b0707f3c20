"""Local scans in one process: the bytes of `vesal -i`, and what a rerun skips and does again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster.made import PROMPTS, BoxOpener, records, result, rows, run_batch, write_scan
from tests.inference.fakes import SAFETY_S
from tests.inference.fakes import write_case as write_npz
from tests.inference.runner.own_scans import volume
from vesal.cluster import worker
from vesal.cluster.job import Job
from vesal.cluster.plain import shard_of
from vesal.cluster.sources import Asked, read_jobs
from vesal.inference.io import temporary
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b", "c")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of three scans."""
    for name in NAMES:
        write_scan(tmp_path / "in" / f"{name}.nii.gz")
    return tmp_path / "in"


def again(scans: Path, out: Path, *more: object) -> list[tuple[str, ...]]:
    """What a network was asked in a run: once a case that was not skipped."""
    opener = BoxOpener()
    run_batch("-i", scans, "-o", out, "-p", *PROMPTS, *more, opener=opener)
    return opener.model.asked


def test_bytes_are_those_of_the_command(scans: Path, tmp_path: Path) -> None:
    assert run_batch("-i", scans, "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    settings = Settings(images=(scans,), output=tmp_path / "own", sentences=PROMPTS)
    assert run(settings, BoxOpener()) == 0
    for name in NAMES:
        assert result(tmp_path / "out", name) == result(tmp_path / "own", name)


def test_a_model_is_opened_anew_after_so_many_cases_and_results_stay(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a runtime keeps for the shapes that it met is given back."""
    asked = ("-i", scans, "-p", *PROMPTS)
    opened = []

    class Counting(BoxOpener):
        def __call__(self, *given: Any) -> Any:
            opened.append(given)
            return super().__call__(*given)

    for every, out in {2: "often", 50: "once"}.items():
        monkeypatch.setattr(worker, "RENEWED_EVERY", every)
        assert run_batch(*asked, "-o", tmp_path / out, opener=Counting()) == 0
    assert len(opened) == 2 + 1  # three cases
    for name in NAMES:
        assert result(tmp_path / "often", name) == result(tmp_path / "once", name)


def test_nothing_is_written_but_below_the_output(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's root, and its folder for temporary files, may be read-only."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert run_batch("-i", scans, "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert {path.name for path in (tmp_path / "out" / "batch").iterdir()} - {"table.parquet"} == {
        *("cases", "report.html", "run.json", "table.csv"),
    }


def test_a_result_of_the_command_is_taken_as_it_is(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(Settings(images=(scans,), output=out, sentences=PROMPTS), BoxOpener()) == 0
    assert again(scans, out) == []
    assert [row["voxels"] for row in rows(out)] == ["4", "116"] * 3
    assert {record.state for record in records(out).values()} == {"ok"}


def test_a_rerun_skips_all_and_makes_the_same_table(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert len(again(scans, out)) == 3
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert again(scans, out) == []
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def change_scan(scans: Path, out: Path) -> None:
    write_scan(scans / "a.nii.gz", volume() + 1)


def damage_label_map(scans: Path, out: Path) -> None:
    path = out / "a_seg.nii.gz"
    path.write_bytes(path.read_bytes()[:-9] + bytes(9))


def remove_label_map(scans: Path, out: Path) -> None:
    """Its record is still there."""
    (out / "a_seg.nii.gz").unlink()


def remove_proof(scans: Path, out: Path) -> None:
    """The record's digest tells that the label map is ours."""
    (out / "a_seg.json").unlink()


def damage_proof(scans: Path, out: Path) -> None:
    """As after a power cut."""
    (out / "a_seg.json").write_bytes(bytes(100))


def remove_all(scans: Path, out: Path) -> None:
    (out / "a_seg.json").unlink()
    for suffix in (".nii.gz", ".ctbl", ".label"):
        (out / f"a_seg{suffix}").unlink()


def leave_unfinished(scans: Path, out: Path) -> None:
    path = out / "a_seg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"whole": False}))


def change_version(scans: Path, out: Path) -> None:
    path = out / "a_seg.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"inputs": content["inputs"] | {"version": "0.0.1"}}))


def add_points(scans: Path, out: Path) -> None:
    (scans / "a.prompt.json").write_text('{"points": {"1": [[2, 3, 4, "+"]]}}')


@pytest.mark.parametrize(
    "change",
    [
        change_scan,
        damage_label_map,
        remove_label_map,
        remove_proof,
        damage_proof,
        remove_all,
        leave_unfinished,
        change_version,
        add_points,
    ],
)
def test_what_is_not_valid_is_done_again_and_nothing_else(
    scans: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    out = tmp_path / "out"
    again(scans, out)
    change(scans, out)
    assert len(again(scans, out)) == 1
    assert again(scans, out) == []


def test_other_prompts_and_other_weights_do_all_again(scans: Path, tmp_path: Path) -> None:
    out, weights = tmp_path / "out", tmp_path / "nano"
    again(scans, out)
    weights.mkdir()
    shutil.copy(WEIGHTS / "nano" / "manifest.json", weights)
    assert len(again(scans, out, "kidney")) == 3
    assert len(again(scans, out, "kidney", "--modality", "MR")) == 3
    # Of the same name and content they are the same weights.
    assert again(scans, out, "kidney", "--modality", "MR", "--weights", weights) == []
    (weights / "manifest.json").write_bytes((weights / "manifest.json").read_bytes() + b"\n")
    assert len(again(scans, out, "kidney", "--modality", "MR", "--weights", weights)) == 3


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text('{"name": "a", "sta')])
def test_a_label_map_without_its_record_gets_one(
    scans: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    again(scans, out)
    whole = records(out)["a"]
    damage(out / "batch" / "cases" / "a.json")
    assert again(scans, out) == []
    made = records(out)["a"]
    assert (made.state, made.sha256, made.targets) == (whole.state, whole.sha256, whole.targets)
    assert made.seconds is None, "nobody knows how long it took"


def test_a_case_that_failed_is_tried_again(scans: Path, tmp_path: Path) -> None:
    out, image = tmp_path / "out", volume()
    image[image == 220] = 149
    image[image == 150] = 149
    write_scan(scans / "b.nii.gz", image)
    assert run_batch("-i", scans, "-o", out, "-p", *PROMPTS) == 1
    record = records(out)["b"]
    assert (record.state, record.reason, record.sha256) == ("failed", "RuntimeError: the network broke", None)
    assert not (out / "b_seg.nii.gz").exists()
    assert len(again(scans, out)) == 1
    write_scan(scans / "b.nii.gz")
    assert run_batch("-i", scans, "-o", out, "-p", *PROMPTS) == 0


def test_files_of_others_stay_and_cost_their_case_alone(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b_seg.nii.gz").write_bytes(b"drawn by hand")
    assert run_batch("-i", scans, "-o", out, "-p", *PROMPTS) == 1
    assert (out / "b_seg.nii.gz").read_bytes() == b"drawn by hand"
    assert "not written by vesal" in str(records(out)["b"].reason)
    assert [row["state"] for row in rows(out)] == ["ok", "ok", "failed", "ok", "ok"]


def test_a_label_map_that_was_changed_and_lost_its_proof_stays(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    again(scans, out)
    (out / "a_seg.json").unlink()
    (out / "a_seg.nii.gz").write_bytes(b"drawn by hand")
    (out / "b_seg.json").unlink()
    (out / "b_seg.nii.gz").unlink()
    assert again(scans, out) == []
    assert (out / "a_seg.nii.gz").read_bytes() == b"drawn by hand"
    assert "a_seg.nii.gz is there and was not written" in str(records(out)["a"].reason)
    assert "b_seg.ctbl beside" in str(records(out)["b"].reason), "it may be anybody's"


def test_challenge_cases_bring_their_prompts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_npz(tmp_path / "in" / "case.npz", prompts={"2": "Liver in abdominal CT", "instance_label": 0})
    opener = BoxOpener()
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", opener=opener) == 0
    assert opener.model.asked == [("Liver in abdominal CT",)]
    assert [row["prompt"] for row in rows(tmp_path / "out")] == ["2"]
    assert (np.load(tmp_path / "out" / "case_seg.npz")["segs"] == 2).sum() == 12


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    for number in range(12):
        write_scan(tmp_path / "in" / f"s{number}.nii.gz")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ("-i", tmp_path / "in", "-p", *PROMPTS)
    assert run_batch(*arguments, "-o", whole) == 0
    for number in (2, 1):
        assert run_batch(*arguments, "-o", parts, "--shard", f"{number}/3") == 0
        assert not (parts / "batch" / "table.csv").exists()
    assert run_batch(*arguments, "-o", parts, "--merge") == 1, "a shard is missing"
    states = {row["case"]: row["state"] for row in rows(parts)}
    assert set(states.values()) == {"ok", "not run"}
    assert len(states) == 12
    assert run_batch(*arguments, "-o", parts, "--shard", "3/3") == 0
    assert run_batch("-o", parts, "--merge") == 0
    timed = ("seconds", "worker", "output")
    without = [
        [{k: v for k, v in row.items() if k not in timed} for row in rows(out)] for out in (whole, parts)
    ]
    assert without[0] == without[1]
    assert len(without[0]) == 24
    for number in range(12):
        assert result(whole, f"s{number}") == result(parts, f"s{number}")


def test_every_case_is_in_one_shard_whatever_else_is_there(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"case {number}.nii.gz").touch()
    few = read_jobs([str(tmp_path)], str(tmp_path / "out"), Asked(("liver",)))
    parts = [shard_of(few, number, 4) for number in (1, 2, 3, 4)]
    assert sorted(job.name for part in parts for job in part) == [job.name for job in few]
    assert all(part for part in parts)
    (tmp_path / "another.nii.gz").touch()
    more = read_jobs([str(tmp_path)], str(tmp_path / "out"), Asked(("liver",)))
    for number, part in enumerate(parts, 1):
        assert set(part) <= set(shard_of(more, number, 4))


class Killed(BaseException):
    """In place of SIGKILL."""


def test_killed_at_any_write_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    arguments = ("-i", tmp_path / "in", "-p", *PROMPTS)
    assert run_batch(*arguments, "-o", tmp_path / "whole") == 0
    wanted = result(tmp_path / "whole", "a")
    replace, deaths = os.replace, 0
    for last in range(1, 30):
        out, left = tmp_path / f"out{last}", [last]

        def dies(source: str, target: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(temporary.os, "replace", dies)
            try:
                run_batch(*arguments, "-o", out)
            except Killed:
                deaths += 1
        assert run_batch(*arguments, "-o", out) == 0
        assert result(out, "a") == wanted
        assert [row["state"] for row in rows(out)] == ["ok", "ok"]
        if left[0] > 0:
            break
    assert deaths >= 6, "the run's file, the proof, label map, two of names, the proof, the record, ..."


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_run_that_is_killed_goes_on(tmp_path: Path, number: int, code: int) -> None:
    for name in NAMES:
        write_scan(tmp_path / "in" / f"{name}.nii.gz")
    out, ready = tmp_path / "out", tmp_path / "ready"
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.cluster.made import BoxOpener, run_batch
opener = BoxOpener()
segment = opener.model.segment_case
def hangs(*arguments, **more):
    if len(opener.model.asked) == 2:
        open({str(ready)!r}, "w").close()
        time.sleep({SAFETY_S})
    return segment(*arguments, **more)
opener.model.segment_case = hangs
arguments = ("-i", {str(tmp_path / "in")!r}, "-o", {str(out)!r}, "-p", "liver", "spleen")
sys.exit(run_batch(*arguments, opener=opener))
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as process:
        until = time.monotonic() + SAFETY_S
        while not ready.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
    assert ready.exists()
    assert process.returncode == code
    assert sorted(records(out)) == ["a", "b"]
    assert len(again(tmp_path / "in", out)) == 1
    assert sorted(records(out)) == ["a", "b", "c"]
    assert {row["state"] for row in rows(out)} == {"ok"}


def test_stopped_from_the_keyboard(scans: Path, tmp_path: Path) -> None:
    image = volume()
    image[image > 0] = 148
    write_scan(scans / "b.nii.gz", image)
    assert run_batch("-i", scans, "-o", tmp_path / "out", "-p", *PROMPTS) == 130
    assert sorted(records(tmp_path / "out")) == ["a"]


def test_the_next_case_is_brought_while_one_runs(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no further one: two scans at most are here."""
    from vesal.cluster import worker

    coming = {name: threading.Event() for name in NAMES}
    begun: list[list[str]] = []
    bring = worker.bring

    def brings(job: Job, *more: object) -> object:
        coming[job.name].set()
        return bring(job, *more)

    monkeypatch.setattr(worker, "bring", brings)
    opener = BoxOpener()
    segment = opener.model.segment_case

    def waits(*arguments: object, **more: object) -> object:
        following = NAMES[len(begun) + 1 : len(begun) + 2]
        assert all(coming[name].wait(SAFETY_S) for name in following)
        begun.append([name for name in NAMES if coming[name].is_set()])
        return segment(*arguments, **more)

    monkeypatch.setattr(opener.model, "segment_case", waits)
    assert run_batch("-i", scans, "-o", tmp_path / "out", "-p", *PROMPTS, opener=opener) == 0
    assert begun == [["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
