"""Whole commands on real cases: seconds, windows and memory against their budgets; threads; prompts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from msgspec import structs

from benchmarks.fakes import covering
from benchmarks.measure import best_command
from benchmarks.tables import Row
from vesal.inference.io.formats import read_case
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.timing.clock import SECONDS_PER_PROMPT

MOST_S = 1.0
"""Seconds a prompt that a whole case may take with the default weights."""
MEMORY_MB = 32 * 1024.0
"""What the organizers give a container."""
MANY = 1.3
"""Times one prompt's cost that all prompts of a case may take."""


def case_rows(cases: list[Path], weights: Path, folder: Path, times: int, threads: list[int]) -> list[Row]:
    """Every case with every number of threads."""
    found = []
    for count in threads:
        for case in cases:
            options = ("--weights", str(weights), "--threads", str(count))
            done = best_command(case, folder / "out", times, *options)
            prompts = len(done.case["prompts"])
            windows = sum(stage["windows"] for stage in done.case["stages"])
            skipped = sum(stage["skipped"] for stage in done.case["stages"])
            budget = SECONDS_PER_PROMPT * prompts
            memory = done.report["peak_mb"]
            covered = sum(bool(prompt["covered"]) for prompt in done.case["prompts"])
            note = (
                f"{1e2 * done.seconds / budget:.1f} % of {budget:.0f} s; {covered} of {prompts} prompts "
                f"covered; {windows} windows, {skipped} skipped; {memory:.0f} MB, "
                f"{1e2 * memory / MEMORY_MB:.1f} % of 32 GB"
            )
            if done.case["fallbacks"] or done.case["error"]:
                note += f"; {done.case['error'] or '; '.join(done.case['fallbacks'])}"
            name = f"{case.stem}, {prompts} prompt(s), {count} thread(s)"
            found.append(Row(name, done.seconds, "s", limit=MOST_S * prompts, note=note))
    return found


def prompt_rows(case: Path, weights: Path, folder: Path, times: int) -> list[Row]:
    """All prompts of a case beside one of them, the weights covering all."""
    everything = covering_copy(weights, folder / "covering")
    sentences = read_case(case).sentences
    one = folder / f"{case.stem}-one.npz"
    wanted = largest(case, everything, folder)
    with np.load(case, allow_pickle=False) as archive:
        image, spacing = archive["imgs"], archive["spacing"]
    prompts = np.array({str(wanted): sentences[wanted], "instance_label": 0}, dtype=object)
    np.savez_compressed(one, imgs=image, spacing=spacing, text_prompts=prompts)
    options = ("--weights", str(everything))
    many_done = best_command(case, folder / "out", times, *options)
    one_done = best_command(one, folder / "out", times, *options)
    windows = [sum(s["windows"] for s in done.case["stages"]) for done in (many_done, one_done)]
    return [
        Row(
            f"{len(sentences)} prompts of {case.stem}",
            many_done.seconds,
            "s",
            against=one_done.seconds,
            than="one of them",
            limit=MANY,
            note=f"{windows[0]} windows beside {windows[1]}",
        )
    ]


def largest(case: Path, weights: Path, folder: Path) -> int:
    """The prompt of which most is found, so that its fine stage is run when it is asked for alone."""
    done = best_command(case, folder / "out", 1, "--weights", str(weights))
    return max(done.case["prompts"], key=lambda prompt: prompt["voxels"])["id"]


def covering_copy(weights: Path, folder: Path) -> Path:
    """The weights in a folder of their own whose manifest lists all of the bank as covered."""
    if folder.exists():
        return folder
    folder.mkdir()
    for file in weights.iterdir():
        if file.is_file() and file.name != "manifest.json":
            # Not linked: onnx reads no weights that have several links.
            shutil.copy2(file, folder / file.name)
    manifest = json.loads((weights / "manifest.json").read_text(encoding="utf-8"))
    manifest["targets"] = [structs.asdict(target) for target in covering(weights).targets]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def network_rows(case: Path, weights: Path, times: int) -> list[Row]:
    """One pass of the network with all queries of a case beside one with a single query, on one view."""
    from benchmarks.measure import side_by_side
    from vesal.inference.data.terms import COARSE
    from vesal.inference.families.contract import Window
    from vesal.inference.families.nano import NanoModel, NanoPrompts
    from vesal.inference.geometry.fit import fit_view
    from vesal.inference.geometry.views import triple, whole
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.runtime.choice import choose_runtime

    with NpzArchive(case) as archive:
        d, h, w = archive.header("imgs").shape
    with np.load(case) as content:
        spacing = triple(float(s) for s in content["spacing"][::-1])
    profile = read_profile(weights)
    view = fit_view(whole((d, h, w)), spacing, profile.stage(COARSE).window_voxels)
    model = NanoModel.open(profile, choose_runtime())
    count = len(read_case(case).sentences)
    with np.load(profile.bank_path()) as archive_:
        text = archive_["vectors"][:count].astype(np.float32)
    zeros = np.zeros(count, np.int64)
    image = np.zeros((2, *np.moveaxis(np.empty(view.shape, bool), view.thick_axis, 0).shape), np.float32)
    window = model.encode(Window(image, view.degree))
    many, one = (NanoPrompts(text[:n], zeros[:n], zeros[:n]) for n in (count, 1))
    calls = [lambda p=p: model.decode(window, p, None, None) for p in (many, one)]
    side_by_side(calls, 1)
    ms = side_by_side(calls, times)
    than = "with 1 query"
    return [Row(f"one pass of the network with {count} queries", ms[0], against=ms[1], than=than, limit=MANY)]
