"""Settings of one run of the command, as one frozen dataclass."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import UsageError
from vesal.inference.data.marks import NO_MARKS, Marks
from vesal.inference.data.terms import MASK_STAGES, OFF, RUNTIMES
from vesal.inference.planning.weights_folder import WEIGHTS


def _setting(default: Any, text: str) -> Any:
    """A field with its help text, from which `runner.arguments` makes the command line."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """All settings of one run; the help text of each field describes it.

    Raises UsageError for invalid values.
    """

    inputs: Path = _setting(Path("/workspace/inputs"), "folder with NAME.npz cases, or one such file")
    outputs: Path = _setting(
        Path("/workspace/outputs"),
        "folder for the label maps NAME.npz, made if absent; for a single case also a file ending in .npz",
    )
    prompts: Path | None = _setting(
        None, "JSON file with the prompts: one flat dict, or the challenge's file keyed by dataset"
    )
    dataset: str | None = _setting(
        None,
        "key in the challenge's prompt file; otherwise the longest key that the file name starts with",
    )
    weights: str = _setting("nano", "name of a folder in weights/, or path of a folder with a manifest.json")
    report: Path | None = _setting(
        None, "file for the run's report; otherwise report.json beside the outputs"
    )
    threads: int | None = _setting(
        None, "upper limit of CPU threads; otherwise all that affinity and container allow"
    )
    seconds: float | None = _setting(
        None,
        "time for each case; otherwise 60 for each prompt less 3, the first case counted from program start",
    )
    runtime: str = _setting("auto", "what runs the network: auto, openvino, onnxruntime or cuda")
    hybrid: str | None = _setting(
        None,
        "stage that takes a user's mask as spatial prompt: coarse or fine, otherwise as the weights say; "
        "off: no mask, boxes or points are read",
    )
    marks: Marks = _setting(NO_MARKS, "boxes and points of --box and --point, see spatial_options")
    verbosity: int = _setting(0, "1 logs more, -1 only warnings")

    def __post_init__(self) -> None:
        """Check the values."""
        if self.runtime not in RUNTIMES:
            raise UsageError(f"runtime is {self.runtime!r}; choose one of {', '.join(RUNTIMES)}.")
        if self.hybrid is not None and self.hybrid not in MASK_STAGES:
            raise UsageError(f"hybrid is {self.hybrid!r}; choose one of {', '.join(MASK_STAGES)}.")
        if self.hybrid == OFF and self.marks.by_key:
            raise UsageError("--hybrid off reads no boxes and points, but some are given; leave one out.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}; give 1 or more, or leave it out.")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"seconds is {self.seconds}; give a finite number above 0, or leave it out.")
        if not self.weights:
            raise UsageError(f"weights is empty; give a name out of {WEIGHTS} or a folder.")
