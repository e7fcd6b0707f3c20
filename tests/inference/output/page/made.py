"""Made cases and reports for the tests of the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.results import OK, CaseReport, LadderStep, PromptResult, RunReport, StageReport
from vesal.inference.output.page.report_page import ReportPage

SHAPE, SPACING_MM = (20, 30, 40), (3.0, 1.0, 1.0)
BOX = (slice(5, 12), slice(4, 12), slice(3, 15))
"""Target 1: near the feet's side of the middle, in front and on the first columns."""
OTHER = (slice(8, 16), slice(18, 28), slice(25, 38))
"""Target 2."""
CODES = ("S", "P", "L")


def made_case(codes: tuple[str, str, str] | None = CODES, name: str = "case", instance: bool = False) -> Case:
    """A case with two bright boxes."""
    image = np.random.default_rng(0).integers(0, 60, SHAPE).astype(np.uint8)
    image[BOX], image[OTHER] = 200, 140
    sentences = {1: "Liver in CT", 2: "Spleen in CT"}
    return Case(name, image, SPACING_MM, sentences, instance, None, (), axis_codes=codes)


def made_labels() -> np.ndarray:
    """The boxes as prompts 1 and 2."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[BOX], labels[OTHER] = 1, 2
    return labels


def made_prompt(id_: int, text: str, target: str | None, volume_ml: float | None = 2.016) -> PromptResult:
    """A result that was found where it has a volume above 0."""
    voxels = None if volume_ml is None else round(volume_ml / 0.003)
    return PromptResult(id_, text, target, "CT", "term", f"read as {target}", True, voxels, volume_ml, 0.9)


def made_report(name: str = "case", **changes: object) -> CaseReport:
    """A case that went well."""
    stage = StageReport("coarse", "coarse", (), (3.0, 3.0, 3.0), (20, 10, 14), 1, 0, 0.5, 90.0, "it fits")
    values: dict[str, object] = {
        "state": OK,
        "written": "the labels",
        "shape": SHAPE,
        "spacing_dhw_mm": SPACING_MM,
        "instance": False,
        "modality": "CT",
        "prompts": (made_prompt(1, "Liver in CT", "liver"), made_prompt(2, "Spleen in CT", "spleen")),
        "stages": (stage,),
        "budget_s": 57.0,
        "seconds": 1.5,
        "seconds_of": {"read": 0.1, "segment": 1.2},
    }
    return CaseReport(name, f"in/{name}.npz", f"out/{name}.npz", **(values | changes))


def unfinished() -> CaseReport:
    """A case that fell back, with a step left out and an uncovered prompt."""
    lost = PromptResult(3, "Duodenum", "duodenum", "CT", "term", "not covered", False, 0, 0.0, None)
    return made_report(
        "late",
        state="fell back",
        written="a coarse result",
        prompts=(made_prompt(1, "Liver in CT", "liver"), lost),
        ladder=(LadderStep("overlap 0", "0.1 s were left", 0.5),),
        fallbacks=("coarse only",),
        error="MemoryError: no room",
    )


def made_run(*cases: CaseReport) -> RunReport:
    """A run of these cases."""
    runtime = {"name": "fake", "reason": "it needs none"}
    return RunReport(
        "1", "nano", runtime, {}, {}, "2026-01-01T00:00:00+00:00", 3.0, 99.0, 0, "all cases done", cases
    )


def written_page(path: Path, *reports: CaseReport, codes: tuple[str, str, str] | None = CODES) -> str:
    """The page of cases that all have the made volume and labels."""
    page = ReportPage(len(reports))
    for report in reports:
        page.add(made_case(codes, report.name), made_labels(), report)
    assert page.write(path, made_run(*reports)) == path
    return path.read_text(encoding="utf-8")
