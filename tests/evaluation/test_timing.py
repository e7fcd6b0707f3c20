"""The timing check, with a fake engine in place of docker and with plain processes."""

import json
import os
import select
import shutil
import signal
import threading

import numpy as np
import pytest

from vesal.evaluation import measure, timing
from vesal.evaluation.engines import ContainerEngine, ProcessEngine, choose_engine
from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.measure import peak_file
from vesal.evaluation.submission import check_image_name, check_posix, output_problems

SAFETY_S = 300.0
"""Half of what the scripts here would sleep that are stopped; nothing else is measured by it."""


@pytest.fixture
def check(folders, tmp_path):
    """Run the command on the images; return exit code and the JSON."""

    def call(*options, image="vesal"):
        out = tmp_path / "timing.json"
        out.unlink(missing_ok=True)
        code = timing.main([image, str(folders["images"]), "-o", str(out), *options])
        return code, json.loads(out.read_text()) if out.exists() else None

    return call


@pytest.fixture
def ready(put, cube, folders, submission):
    """One good case whose prediction the submission hands out."""
    put("CT_a", cube(), cube(), prompts={1: "CT imaging of the liver", 5: "CT imaging of the spleen"})
    shutil.copy(folders["predictions"] / "CT_a.npz", submission / "ready")
    return submission / "ready" / "CT_a.npz"


def test_a_good_submission_passes_in_a_container(check, ready, submission, capsys):
    code, content = check()
    (case,) = content["cases"]
    assert (code, content["pass"], content["engine"]) == (0, True, "docker")
    assert (case["case"], case["classes"], case["limit_s"], case["problems"]) == ("CT_a", 2, 120, [])
    assert case["seconds"] > 0
    assert all(c["ok"] for c in content["checks"])
    assert "PASS" in capsys.readouterr().out
    (run,) = [line for line in (submission / "calls").read_text().splitlines() if "inputs" in line]
    assert "-m 32G --name vesal --rm -v /" in run
    assert run.endswith("vesal:latest /bin/bash -c sh predict.sh")


def test_marked_classes_without_sentences_have_90_seconds(check, ready, folders):
    path = folders["images"] / "CT_a.npz"
    with np.load(path, allow_pickle=True) as stored:
        arrays = {key: stored[key] for key in ("imgs", "spacing")}
    clicks = np.array([{"fg": [[0, 0, 0]], "bg": []}] * 2, dtype=object)
    np.savez(path, clicks=clicks, **arrays)
    _, content = check()
    assert (content["cases"][0]["classes"], content["cases"][0]["limit_s"]) == (2, 180)


def test_a_good_submission_passes_as_a_process(check, ready, submission):
    code, content = check("--engine", "process", "--script", str(submission / "predict.sh"))
    assert (code, content["engine"]) == (0, "process")
    assert content["cases"][0]["peak_mb"] > 0


def test_outputs_can_be_kept(check, ready, tmp_path):
    assert check("--keep", str(tmp_path / "kept"))[0] == 0
    assert (tmp_path / "kept" / "CT_a.npz").read_bytes() == ready.read_bytes()


def test_a_missing_output_fails_with_the_last_words_of_the_run(check, ready, submission, capsys):
    (submission / "predict.sh").write_text("#!/bin/sh\necho no weights here >&2\nexit 3\n")
    code, content = check()
    (case,) = content["cases"]
    assert code == 1 and not case["ok"]
    assert "every later case would be lost" in case["problems"][0]
    assert case["problems"][1] == "exit code 3: no weights here"
    assert "FAIL" in capsys.readouterr().out


def test_an_exit_code_other_than_0_is_no_pass_though_the_output_is_there(check, ready, submission):
    (submission / "predict.sh").write_text('#!/bin/sh\ncp ready/* "$2"\necho 1 of 1 case is zeros\nexit 1\n')
    code, content = check()
    (case,) = content["cases"]
    assert (code, content["pass"], case["ok"]) == (1, False, False)
    assert case["problems"] == ["exit code 1: 1 of 1 case is zeros"]


def test_what_lies_beside_a_case_is_run_with_it_and_is_no_case(check, ready, submission, folders):
    for name in ("CT_a.json", "CT_a.prompt.npz"):
        (folders["images"] / name).write_bytes(b"{}")
    (folders["images"] / "._CT_a.npz").write_bytes(b"Mac OS X")
    (folders["images"] / "CT_a.json").write_text('{"1": "the liver", "instance_label": 0}')
    (submission / "predict.sh").write_text('#!/bin/sh\n(cd "$1" && echo *) > seen\ncp ready/* "$2"\n')
    _, content = check()
    (case,) = content["cases"]
    assert (submission / "seen").read_text().split() == ["CT_a.json", "CT_a.npz", "CT_a.prompt.npz"]
    assert (case["case"], case["classes"]) == ("CT_a", 1), "the prompts beside the case count"
    assert case["note"] == "run with CT_a.json, CT_a.prompt.npz, which the official script leaves out"


class PatienceUntilUp:
    """Stands in for the timer of a run: its time is over when the run writes `up` into a pipe."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.patience_s = path, None

    def __call__(self, patience_s, stop):
        self.patience_s = patience_s
        self.thread = threading.Thread(target=self.wait, args=(stop,), daemon=True)
        return self

    def start(self):
        self.thread.start()

    def wait(self, stop):
        self.pipe = self.path.open()
        assert self.pipe.readline() == "up\n"
        stop()

    def cancel(self):
        self.thread.join(SAFETY_S)

    def is_left(self):
        """Whether no process holds the pipe any more."""
        return bool(select.select([self.pipe], [], [], SAFETY_S)[0]) and self.pipe.read() == ""


@pytest.fixture
def patience(tmp_path, monkeypatch):
    """Runs are stopped when they say `up` to `patience.path`."""
    made = PatienceUntilUp(tmp_path / "pipe")
    monkeypatch.setattr(measure.threading, "Timer", made)
    return made


def test_over_the_limit_fails_and_is_stopped(check, ready, submission, patience):
    script = submission / "predict.sh"
    script.write_text(f'#!/bin/sh\ncp ready/* "$2"\nexec > {patience.path}\necho up\nexec sleep 600\n')
    code, content = check("--engine", "process", "--script", str(script))
    (case,) = content["cases"]
    assert code == 1 and patience.patience_s == 1.5 * case["limit_s"]
    (problem,) = case["problems"]
    assert problem.startswith("stopped after") and case["seconds"] < SAFETY_S


def test_the_official_line_names_a_gpu_as_each_engine_wants_it(tmp_path):
    docker = ContainerEngine("/usr/bin/docker", "vesal", gpu=True).command(tmp_path, tmp_path)
    assert docker[:5] == ["/usr/bin/docker", "container", "run", "--gpus", "device=0"]
    assert docker[5:10] == ["-m", "32G", "--name", "vesal", "--rm"]
    assert docker[-4:] == ["vesal:latest", "/bin/bash", "-c", "sh predict.sh"]
    podman = ContainerEngine(
        "podman", "localhost/vesal:latest", gpu=True, global_options=("--runtime", "runc")
    )
    line = podman.command(tmp_path, tmp_path)
    assert line[:7] == ["podman", "--runtime", "runc", "container", "run", "--device", "nvidia.com/gpu=0"]
    assert podman.team == "vesal" and line[-4] == "localhost/vesal:latest"
    assert "--gpus" not in ContainerEngine("docker", "vesal").command(tmp_path, tmp_path)


def test_an_engine_is_chosen_by_what_works(submission, monkeypatch):
    assert choose_engine("vesal").name == "docker"
    with pytest.raises(EvaluationError, match="docker has no image other"):
        choose_engine("other")
    with pytest.raises(EvaluationError, match="neither of podman is installed"):
        choose_engine("vesal", "podman")
    monkeypatch.setenv("FAKE_INFO", "1")
    with pytest.raises(EvaluationError, match="does not run here"):
        choose_engine("vesal")


def test_wrong_usage(check, ready, capsys, tmp_path):
    assert check(image="other")[0] == 2
    assert check("--engine", "process", "--script", str(tmp_path / "none.sh"))[0] == 2
    assert "give --script" in capsys.readouterr().err
    assert timing.main(["vesal", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("image", "ok"),
    [
        ("vesal", True),
        ("vesal:latest", True),
        ("localhost/vesal:latest", True),
        ("Vesal", False),
        ("team.one", False),
        ("vesal:v2", False),
        ("ghcr.io/team/vesal", False),
    ],
)
def test_image_names(image, ok):
    assert check_image_name(image).ok is ok


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ('exec python -m vesal "$@"', None),
        ('[ -n "$A" ] && . ./env  # source == [[ in a comment', None),
        ("if [[ -n $A ]]; then", "[[ ]]"),
        ("source env", "source"),
        ("set -euo pipefail", "pipefail"),
        ("python x &> log", "&>"),
        ('[ "$A" == b ]', "=="),
        ("echo ${A[0]}", "arrays"),
        ("echo a\r", "Windows"),
    ],
)
def test_bash_in_predict_sh_is_found(line, finding):
    check = check_posix(f"#!/bin/sh\n{line}\n")
    assert check.ok is (finding is None)
    assert finding is None or finding in check.detail


def test_a_syntax_error_and_an_absent_script_are_found(check, ready, submission):
    (submission / "predict.sh").write_text('#!/bin/sh\nif true; then cp ready/* "$2"\n')
    code, content = check()
    assert code == 1
    assert [c["ok"] for c in content["checks"]] == [True, True, False]
    (submission / "predict.sh").unlink()
    _, content = check()
    assert "not found" in content["checks"][1]["detail"]


@pytest.mark.parametrize(
    ("segs", "problem"),
    [
        (np.zeros((2, 2, 2), np.uint8), None),
        (np.zeros((2, 2, 3), np.uint8), "shape (2, 2, 3), the input has (2, 2, 2)"),
        (np.full((2, 2, 2), 256, np.uint16), "labels up to 256"),
        (np.full((2, 2, 2), 0.5), "between whole numbers"),
        (np.full((2, 2, 2), None), "object array"),
    ],
)
def test_what_the_script_would_trip_over(tmp_path, segs, problem):
    np.savez(tmp_path / "a.npz", segs=segs)
    found = output_problems(tmp_path / "a.npz", (2, 2, 2))
    assert bool(found) is (problem is not None)
    assert problem is None or problem in found[0]


def test_an_output_of_another_name_is_named(tmp_path):
    (tmp_path / "b.npz").touch()
    assert "b.npz there" in output_problems(tmp_path / "a.npz", (1, 1, 1))[0]
    (tmp_path / "a.npz").write_bytes(b"nothing")
    assert output_problems(tmp_path / "a.npz", (1, 1, 1))[0].startswith("unreadable")


def test_peak_memory_is_found_under_both_versions_of_cgroups(tmp_path):
    for file in ("memory/pod/x/memory.max_usage_in_bytes", "pod/y/memory.peak"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("1")
    assert peak_file("3:pids:/pod/x\n4:memory:/pod/x\n0::/pod/x\n", tmp_path).parts[-4:-1] == (
        "memory",
        "pod",
        "x",
    )
    assert peak_file("0::/pod/y\n", tmp_path).name == "memory.peak"
    assert peak_file("0::/pod/z\n", tmp_path) is None


def test_a_process_engine_stops_the_whole_group(submission, tmp_path, patience):
    """The script's child holds the pipe for as long as it lives."""
    child = f"(echo up; exec sleep 600) > {patience.path}"
    (submission / "predict.sh").write_text(f"#!/bin/sh\n{child} &\nwait\n")
    run = ProcessEngine(submission / "predict.sh").run(tmp_path, tmp_path, patience_s=0.2)
    assert run.killed and run.exit_code == -signal.SIGKILL and run.seconds < SAFETY_S
    assert patience.patience_s == 0.2 and patience.is_left()
