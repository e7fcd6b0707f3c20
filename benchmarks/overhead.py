"""What the engine takes beside the network, on one real case with all of its prompts covered."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fakes import Balls, Timed, covering, fake_model
from benchmarks.measure import now, side_by_side
from benchmarks.tables import Row
from vesal.inference.api import Model
from vesal.inference.engine import Engine
from vesal.inference.families import network_input
from vesal.inference.families.nano import NanoModel, graph_paths
from vesal.inference.geometry import region, resample
from vesal.inference.io import label_writer, npz
from vesal.inference.prompts import parser
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.stages import filters, label_map, objects, prompt_results

STEPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "writing zeros, coarse and final result": (label_writer.write_label_map,),
    "reading": (npz.NpzReader.read,),
    "parsing prompts": (parser.parse_prompts,),
    "statistics of the volume": (network_input.intensity_statistics,),
    "sampling views": (resample.to_view, network_input.image_channels),
    "spatial prompts": (resample.between,),
    "classes to labels": (label_map.LabelMap.add_classes,),
    "filtering": (filters.filter_pass, filters.filter_classes, objects.cut_into_objects),
    "regions": (region.region_of,),
    "what the report counts": (prompt_results.prompt_results,),
}
"""Rows of the table -> functions whose time, with all they call, goes there; none calls another of them."""
LARGE_NETWORK_S = 5.0
"""Seconds a call of the stand-in for a network of Medal S's size. The smallest of its windows that was
measured, 96^3 in bf16 on two cores, takes 5.7 s (one of 192^3 some 45 s), so the share found here is above
the true one."""


def rows(path: Path, weights: Path, folder: Path, times: int) -> list[Row]:
    """Engine beside numpy, its steps, the network beside bare runs, and a large network."""
    profile, runtime = covering(weights), choose_runtime()
    graphs = {degree: Timed(runtime.load(path)) for degree, path in graph_paths(profile).items()}
    with np.load(profile.bank_path()) as archive:
        bank = dict(zip(archive["names"].tolist(), archive["vectors"].astype(np.float32), strict=True))
    model = Model(Engine(profile, runtime, NanoModel(graphs, bank, profile)))
    once = in_process(path, folder, model)
    once()  # compiles, and reads everything once
    with np.load(folder / "out" / path.name) as archive:
        labels = archive["segs"]
    best = network = bare = numpy_ms = float("inf")
    for _ in range(times):
        reset(graphs)
        started = now()
        once()
        wall = now() - started
        inside = sum(graph.seconds for graph in graphs.values())
        best, network = min(best, wall - inside), min(network, inside)
        bare = min(bare, bare_runs(graphs))
        numpy_ms = min(numpy_ms, side_by_side([lambda: numpy_alone(path, labels, folder)], 1)[0])
    calls = sum(len(graph.asked) for graph in graphs.values())
    found = [
        Row(
            "everything but the network",
            1e3 * best,
            against=numpy_ms,
            than="numpy loads the npz and saves the label map",
            limit=2.0,
        ),
        *step_rows(once, graphs),
        Row(
            f"network, {calls} calls",
            1e3 * network,
            against=1e3 * bare,
            than="bare runs of the graph on the same arrays",
            limit=1.3,
        ),
        large_network_row(path, weights, folder),
    ]
    return found


def in_process(path: Path, folder: Path, model: Model) -> Callable[[], None]:
    """The whole way of a case from file to file, in this process, with an open engine."""
    settings = Settings(path, folder / "out", report=folder / "report.json", verbosity=-1, seconds=3600.0)

    def once() -> None:
        if run(settings, lambda _: model):
            raise RuntimeError(f"{path} fell back; see {settings.report}")

    return once


def reset(graphs: dict[int, Timed]) -> None:
    """Count from nothing."""
    for graph in graphs.values():
        graph.seconds = 0.0
        graph.asked.clear()


def bare_runs(graphs: dict[int, Timed]) -> float:
    """Seconds of the same calls once more, with nothing around them."""
    started = now()
    for graph in graphs.values():
        for inputs in graph.asked:
            graph._graph(inputs)
    return now() - started


def numpy_alone(path: Path, labels: np.ndarray, folder: Path) -> None:
    """What nobody can do without: the volume out of its npz, a label map of its size into another."""
    with np.load(path) as archive:
        image = archive["imgs"]
    assert image.shape == labels.shape
    np.savez_compressed(folder / "numpy.npz", segs=labels)


def step_rows(once: Callable[[], None], graphs: dict[int, Timed]) -> list[Row]:
    """Milliseconds of each step of one more run, and what no step accounts for."""
    reset(graphs)
    took = dict.fromkeys(STEPS, 0.0)
    with ExitStack() as stack:
        for step, functions in STEPS.items():
            for function in functions:
                stack.enter_context(timed(function, took, step))
        started = now()
        once()
        wall = now() - started
    found = [Row(f"- {step}", 1e3 * seconds) for step, seconds in took.items()]
    rest = wall - sum(graph.seconds for graph in graphs.values()) - sum(took.values())
    return [*found, Row("- all else", 1e3 * rest, note="planning, time keeping, logs, report")]


@contextmanager
def timed(function: Callable[..., Any], took: dict[str, float], step: str) -> Iterator[None]:
    """Add what a function takes to ``took[step]``, wherever our modules and classes hold it."""

    def wrapper(*arguments: Any, **named: Any) -> Any:
        started = now()
        try:
            return function(*arguments, **named)
        finally:
            took[step] += now() - started

    modules = [module for name, module in sys.modules.items() if name.startswith("vesal.inference.")]
    places = [
        (h, name)
        for h in [*modules, label_map.LabelMap, npz.NpzReader]
        for name, value in list(vars(h).items())
        if value is function
    ]
    for holder, name in places:
        setattr(holder, name, wrapper)
    try:
        yield
    finally:
        for holder, name in places:
            setattr(holder, name, function)


def large_network_row(path: Path, weights: Path, folder: Path) -> Row:
    """Share of the wall time that the engine takes beside a network of Medal S's size."""
    graph = Balls(seconds=LARGE_NETWORK_S)
    once = in_process(path, folder, fake_model(covering(weights), graph))
    started = time.perf_counter()  # a network that sleeps takes no processor's time
    once()
    wall = time.perf_counter() - started
    rest = wall - graph.calls * LARGE_NETWORK_S
    note = f"{graph.calls} calls of {LARGE_NETWORK_S:g} s, {wall:.1f} s in all"
    return Row("share beside a network of Medal S's size", 1e2 * rest / wall, "%", limit=5.0, note=note)
