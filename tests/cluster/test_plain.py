"""The plain loop on local scans: the bytes of `vesal -i`, and reruns."""

from pathlib import Path

from tests.inference.runner.own_scans import BoxOpener, write_scan
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.plain import run_plain
from vesal.cluster.record import Record
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

PROMPTS = ("liver", "spleen")


def batch(jobs: list[Job], out: Path, opener: BoxOpener | None = None) -> dict[str, Record]:
    records: list[Record] = []
    run_plain(jobs, WorkerOptions(str(out)), records.append, opener or BoxOpener())
    return {record.name: record for record in records}


def test_bytes_are_those_of_the_command(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / "in" / f"{name}.nii.gz") for name in "ab"]
    jobs = [
        Job(scan.name[0], str(scan), str(tmp_path / "out" / f"{scan.name[0]}_seg.nii.gz"), PROMPTS)
        for scan in scans
    ]
    records = batch(jobs, tmp_path / "out")
    assert run(Settings(images=tuple(scans), output=tmp_path / "own", sentences=PROMPTS), BoxOpener()) == 0
    for name in "ab":
        for suffix in (".nii.gz", ".json", ".ctbl", ".label"):
            made = tmp_path / "out" / f"{name}_seg{suffix}"
            assert made.read_bytes() == (tmp_path / "own" / f"{name}_seg{suffix}").read_bytes()
        assert records[name].state == "ok"
        assert [row.voxels for row in records[name].targets] == [4, 116]
    opener = BoxOpener()
    assert {record.state for record in batch(jobs, tmp_path / "out", opener).values()} == {"skipped"}
    assert opener.model.asked == []
