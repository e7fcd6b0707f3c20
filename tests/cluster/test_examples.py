"""The examples of docs/cluster.md, with a program in the place of `vesal`; Apptainer.def and the image."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest

from vesal.cluster.arguments import read_options

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
APPTAINER = (ROOT / "Apptainer.def").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def block(begin: str, end: str) -> str:
    """An indented block of the document, from one of its lines on."""
    found = re.search(rf"^    {re.escape(begin)}.*?(?=\n\n    {re.escape(end)}|\n\n\S)", DOC, re.M | re.S)
    assert found, begin
    return textwrap.dedent(found[0])


def tell(script: str, folder: Path, **environment: str) -> list[str]:
    """What `vesal` is given by a script of a scheduler."""
    for name, code in (("vesal", 'printf "%s\\n" "$@"'), ("srun", 'exec "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": path, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


SLURM = block("#!/bin/bash\n    #SBATCH", "sbatch --dependency")
SGE = block("#!/bin/bash\n    #$", "qsub -hold_jid")
KUBERNETES = block("apiVersion", "none")
KUBERNETES_SCRIPT = " ".join(re.findall(r"args:\n +- (.*?)\n +resources", KUBERNETES, re.S)[0].split())


@pytest.mark.parametrize(
    ("script", "index", "first", "more"),
    [
        (SLURM, "SLURM_ARRAY_TASK_ID", 1, {"SLURM_CPUS_PER_TASK": "4"}),
        (SGE, "SGE_TASK_ID", 1, {"SGE_TASK_LAST": "16", "NSLOTS": "4"}),
        (KUBERNETES_SCRIPT, "JOB_COMPLETION_INDEX", 0, {}),
    ],
)
def test_the_tasks_of_an_array_job_are_all_its_shards(
    tmp_path: Path, script: str, index: str, first: int, more: dict[str, str]
) -> None:
    shards = set()
    for number in range(first, first + 16):
        command, *arguments = tell(script, tmp_path, **{index: str(number)}, **more)
        options = read_options(arguments)
        assert (command, options.settings.threads, options.prompts) == ("batch", 4, ("liver", "spleen"))
        shards.add(options.shard)
    assert shards == {(number, 16) for number in range(1, 17)}


def test_schedulers_start_as_many_tasks_as_there_are_shards() -> None:
    assert "--array=1-16 " in SLURM
    assert "-t 1-16 " in SGE
    assert "completionMode: Indexed" in KUBERNETES
    assert "completions: 16\n" in KUBERNETES


def test_the_other_lines_of_the_document_are_read() -> None:
    lines = re.findall(r"^ {4}(?:sbatch .*?\"|qsub .*? -b y )?vesal batch (.*?)\"?$", DOC, re.M)
    lines = [line for line in lines if "|" not in line and "\\" not in line and "$" not in line]
    assert len(lines) >= 3
    for line in lines:
        read_options(shlex.split(line, comments=True))


def section(name: str) -> str:
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.M | re.S)
    assert found, name
    return found[1]


def test_apptainer_has_what_the_image_has() -> None:
    assert re.findall(r"sha256:\w+", APPTAINER) == re.findall(r"sha256:\w+", DOCKERFILE)
    taken = [line.split() for line in section("files").strip().splitlines()]
    for source, target in taken:
        assert (ROOT / source).exists(), source
        assert target == f"/build/{source}" or source.startswith("demo/")
    sources = {source.split("/")[0] for source, _ in taken}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    wanted = {name for copy in copies for name in copy.split() if not name.startswith("requirements")}
    assert wanted <= sources
    for step in (
        "pip install --no-cache-dir --no-compile --no-deps --require-hashes",
        "pip wheel",
        "self_check",
    ):
        assert step in section("post")
        assert step in DOCKERFILE


def test_the_steps_of_apptainer_are_a_script_of_sh() -> None:
    script = section("post").replace("{{ ACCELERATOR }}", "cpu").replace("{{ EXTRAS }}", "none")
    assert "{{" not in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    wrong = section("post").replace("{{ ACCELERATOR }}", "tpu").replace("cd /build", "cd /")
    done = subprocess.run(["sh"], input=wrong, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, "ACCELERATOR is tpu; cpu or gpu is wanted\n")
