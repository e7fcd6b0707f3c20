"""Scans in stores: S3 by a server on this machine, and a web server; keys from the environment alone."""

from __future__ import annotations

import csv
import functools
import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.made import PROMPTS, SUFFIXES, BoxOpener, needs, result, run_batch, write_scan
from tests.inference.runner.own_scans import volume
from vesal.cluster.store import all_records

needs("fsspec", "s3fs", "aiohttp", "moto", "flask")

KEY, SECRET = "AKIAVESALTEST", "secret-of-the-store-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """An empty bucket `scans`, as fsspec sees it."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = fsspec.filesystem("s3")
    store.invalidate_cache()
    if store.exists("scans"):
        store.rm("scans", recursive=True)
    store.mkdir("scans")
    return store


@pytest.fixture
def scans(bucket: Any, tmp_path: Path) -> Path:
    """Two scans of one name in two folders, here and in the bucket, and something else that is none."""
    for site in ("site a", "ünit"):
        path = write_scan(tmp_path / "in" / site / "CT 1.nii.gz")
        bucket.put_file(str(path), f"scans/in/{site}/CT 1.nii.gz")
    bucket.pipe_file("scans/in/notes.txt", b"none")
    return tmp_path / "in"


NAMES = ("site a/CT 1", "ünit/CT 1")


def asked(*arguments: object) -> int:
    """How many cases a network was asked for."""
    opener = BoxOpener()
    run_batch(*arguments, "-p", *PROMPTS, opener=opener)
    return len(opener.model.asked)


def stored(bucket: Any, folder: str, name: str) -> dict[str, bytes]:
    return {suffix: bucket.cat_file(f"{folder}/{name}_seg{suffix}") for suffix in SUFFIXES}


@pytest.mark.parametrize("inputs", ["s3://scans/in", "s3://scans/in/", "s3://scans/in/*/CT*.nii.gz"])
def test_from_store_to_store(bucket: Any, scans: Path, tmp_path: Path, inputs: str) -> None:
    """The same names, bytes and table as from folder to folder, and nothing is fetched for a rerun."""
    assert run_batch("-i", inputs, "-o", "s3://scans/out", "-p", *PROMPTS, "--scratch", tmp_path / "s") == 0
    assert run_batch("-i", scans, "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    for name in NAMES:
        assert stored(bucket, "scans/out", name) == result(tmp_path / "out", name)
    assert list((tmp_path / "s").iterdir()) == [], "what was brought is gone"
    with bucket.open("scans/out/batch/table.csv", "rt", encoding="utf-8") as file:
        assert [line.split(",")[0] for line in file][1::2] == list(NAMES)
    assert b"Segmentation of 2 cases" in bucket.cat_file("scans/out/batch/report.html")
    assert asked("-i", inputs, "-o", "s3://scans/out") == 0


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is fetched from here on."""
    from vesal.cluster import brought

    fetched: list[str] = []
    fetch = brought.fetch
    monkeypatch.setattr(brought, "fetch", lambda place, target: (fetched.append(place), fetch(place, target)))
    return fetched


def test_a_rerun_fetches_no_scan(
    bucket: Any, scans: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ("-i", "s3://scans/in", "-o", "s3://scans/out")
    assert asked(*arguments) == 2
    fetched = watch(monkeypatch)
    assert asked(*arguments) == 0
    assert len(fetched) == 2
    assert all(place.endswith("_seg.json") for place in fetched)


def test_from_store_to_folder_and_back(bucket: Any, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert asked("-i", "s3://scans/in", "-o", out) == 2
    assert asked("-i", "s3://scans/in", "-o", out) == 0
    assert asked("-i", scans, "-o", out) == 0, "the same scans, here"
    assert asked("-i", scans, "-o", "s3://scans/far") == 2
    assert asked("-i", scans, "-o", "s3://scans/far") == 0
    assert stored(bucket, "scans/far", NAMES[0]) == result(out, NAMES[0])


def damage(bucket: Any) -> None:
    bucket.pipe_file("scans/out/ünit/CT 1_seg.nii.gz", b"damaged")


def remove(bucket: Any) -> None:
    bucket.rm_file("scans/out/ünit/CT 1_seg.nii.gz")


def change(bucket: Any) -> None:
    bucket.copy("scans/other.nii.gz", "scans/in/ünit/CT 1.nii.gz")


def add_prompts(bucket: Any) -> None:
    bucket.pipe_file("scans/in/ünit/CT 1.prompt.json", b'{"points": {"1": [[2, 3, 4, "+"]]}}')


def lose_names(bucket: Any) -> None:
    bucket.rm_file("scans/out/ünit/CT 1_seg.ctbl")


@pytest.mark.parametrize("what", [damage, remove, change, add_prompts, lose_names])
def test_what_is_not_valid_is_done_again(
    bucket: Any, scans: Path, tmp_path: Path, what: Callable[[Any], None]
) -> None:
    bucket.put_file(str(write_scan(tmp_path / "other.nii.gz", volume() + 1)), "scans/other.nii.gz")
    arguments = ("-i", "s3://scans/in", "-o", "s3://scans/out")
    assert asked(*arguments) == 2
    what(bucket)
    assert asked(*arguments) == 1
    assert asked(*arguments) == 0


def test_a_lost_record_costs_no_second_run(bucket: Any, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("-i", "s3://scans/in", "-o", "s3://scans/out")
    assert asked(*arguments) == 2
    bucket.rm("scans/out/batch/cases", recursive=True)
    assert asked(*arguments) == 0
    fetched = watch(monkeypatch)
    assert asked(*arguments) == 0
    assert all(place.endswith("_seg.json") for place in fetched), "the new record has the store's digests"
    assert len(list(all_records("s3://scans/out"))) == 2


def test_a_map_that_was_half_put_is_ours(bucket: Any, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the label map and the file that proves it: it is done again, and not called foreign."""
    from vesal.cluster import brought

    class Killed(BaseException):
        pass

    put = brought.put
    for dies_at in (".nii.gz", ".ctbl", ".label", ".json"):

        def dies(source: Path, place: str, end: str = dies_at) -> None:
            put(source, place)
            if place.endswith(end):
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(brought, "put", dies)
            with pytest.raises(Killed):
                asked("-i", "s3://scans/in", "-o", f"s3://scans/out{dies_at}")
        again = asked("-i", "s3://scans/in", "-o", f"s3://scans/out{dies_at}")
        assert again == (2 if dies_at != ".json" else 1), "the JSON file is the last: then all is there"
        assert {record.state for record in all_records(f"s3://scans/out{dies_at}")} == {"ok"}


def test_a_table_in_a_store(bucket: Any, scans: Path, tmp_path: Path) -> None:
    bucket.pipe_file(
        "scans/in/cases.tsv",
        b"path\tprompts\toutput\nsite a/CT 1.nii.gz\tliver;spleen\tfirst\n",
    )
    assert run_batch("-i", "s3://scans/in/cases.tsv", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "first.nii.gz").is_file()


def test_results_in_a_store_that_are_gone_or_lost_their_proof(
    bucket: Any, scans: Path, tmp_path: Path
) -> None:
    arguments = ("-i", scans, "-o", "s3://scans/out")
    assert asked(*arguments) == 2
    bucket.pipe_file(f"scans/out/{NAMES[0]}_seg.json", b"")
    bucket.rm_file(f"scans/out/{NAMES[1]}_seg.nii.gz")
    assert run_batch(*arguments, "-p", *PROMPTS, "--merge") == 1
    with bucket.open("scans/out/batch/table.csv", encoding="utf-8", mode="r") as file:
        states = {row["case"]: row["state"] for row in csv.DictReader(file)}
    assert states == {NAMES[0]: "ok", NAMES[1]: "failed"}
    assert asked(*arguments) == 2
    assert asked(*arguments) == 0
    assert run_batch(*arguments, "-p", *PROMPTS, "--merge") == 0


def test_what_a_store_refuses_costs_its_case(bucket: Any, scans: Path, tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(f"path\ns3://scans/absent.nii.gz\ns3://other/x.nii.gz\n{scans / NAMES[0]}.nii.gz\n")
    assert run_batch("-i", table, "-o", tmp_path / "out", "-p", *PROMPTS) == 1
    found = {record.source: record for record in all_records(str(tmp_path / "out"))}
    assert "does not exist" in str(found["s3://scans/absent.nii.gz"].reason)
    assert found["s3://other/x.nii.gz"].state == "failed"
    assert [record.state for record in found.values()].count("ok") == 1


def test_no_key_of_the_environment_is_written_anywhere(
    bucket: Any, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked("-i", "s3://scans/in", "-o", "s3://scans/out", "-vv")
    written = b"".join(map(bucket.cat_file, bucket.find("scans/out")))
    told = "".join(capfd.readouterr()).encode()
    assert b"CT 1" in written
    for text in (written, told):
        assert KEY.encode() not in text
        assert SECRET.encode() not in text


class Handler(http.server.SimpleHTTPRequestHandler):
    """A web server; what is asked for with a wrong signature is refused."""

    def do_GET(self) -> None:  # noqa: N802
        """Refuse or give."""
        if "signature=" in self.path and "signature=good" not in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the folder `in`."""
    (tmp_path / "in").mkdir(exist_ok=True)
    handler = functools.partial(Handler, directory=str(tmp_path / "in"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_web(web: str, tmp_path: Path) -> None:
    """A folder as a server lists it; this one tells no digest, so a rerun fetches and looks."""
    write_scan(tmp_path / "in" / "site a" / "CT 1.nii.gz")
    write_scan(tmp_path / "in" / "b.nii.gz")
    out = tmp_path / "out"
    assert asked("-i", f"{web.replace('http', 'HTTP')}/", "-o", out) == 2
    assert {record.name for record in all_records(str(out))} == {"site a/CT 1", "b"}
    assert asked("-i", f"{web}/", "-o", out) == 0
    write_scan(tmp_path / "in" / "b.nii.gz", volume() + 1)
    assert asked("-i", f"{web}/", "-o", out) == 1


def test_signed_urls_are_used_and_not_written_down(
    web: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "in" / "b.nii.gz")
    table, out = tmp_path / "cases.csv", tmp_path / "out"
    table.write_text(
        f"path,output\n{web}/b.nii.gz?signature=good-SIGNED,one\n{web}/b.nii.gz?signature=bad-SIGNED,two\n"
        f"{web}/none.nii.gz?signature=good-SIGNED,three\n"
    )
    assert run_batch("-i", table, "-o", out, "-p", *PROMPTS, "-vv") == 1
    found = {record.name: record for record in all_records(str(out))}
    assert "may not be read (ClientResponseError: 403" in str(found["two"].reason)
    states = {name: record.state for name, record in found.items()}
    assert states == {"one": "ok", "two": "failed", "three": "failed"}
    told = "".join(capfd.readouterr()).encode()
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"b.nii.gz?..." in written
    assert b"three" in told
    for text in (written, told):
        assert b"SIGNED" not in text
    assert json.loads((out / "one.json").read_text())["image"] == "b.nii.gz"


def test_a_store_that_breaks_at_the_end_tells_no_secret(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def breaks(*_: object) -> None:
        raise ConnectionError("https://user:word@host/x?signature=SIGNED")

    write_scan(tmp_path / "in" / "b.nii.gz")
    monkeypatch.setattr("vesal.cluster.finish.write_results", breaks)
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS) == 1
    told = capfd.readouterr().err
    assert "https://host/x?..." in told
    assert "word@" not in told
    assert "https://host/x?signature" not in told


def test_a_web_server_takes_no_results(web: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "in" / "b.nii.gz")
    assert run_batch("-i", tmp_path / "in", "-o", f"{web}/out", "-p", *PROMPTS) == 2
    assert "cannot be written to" in capfd.readouterr().err
