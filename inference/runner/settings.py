"""Settings of one run of the command, as one frozen dataclass."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import UsageError
from vesal.inference.data.marks import NO_MARKS, Marks
from vesal.inference.data.terms import MASK_STAGES, OFF, RUNTIMES
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.planning.weights_folder import WEIGHTS

CONTRACT_INPUTS, CONTRACT_OUTPUTS = Path("/workspace/inputs"), Path("/workspace/outputs")
PROBABILITY_TYPES = ("uint8", "float16")
TABLE_SUFFIX = ".tsv"


def _setting(default: Any, text: str, *flags: str, **argument: Any) -> Any:
    """A field with its help text, from which `runner.arguments` makes the command line.

    ``flags`` are its names there, where they are others than the field's; ``argument`` is for argparse.
    """
    return field(default=default, metadata={"help": text, "flags": flags, "argument": argument})


def _switch(text: str) -> Any:
    return _setting(False, text, action="store_true")


@dataclass(frozen=True)
class Settings:
    """All settings of one run; the help text of each field describes it.

    Raises UsageError for invalid values.
    """

    inputs: Path = _setting(CONTRACT_INPUTS, "folder with NAME.npz cases, or one such file")
    outputs: Path = _setting(
        CONTRACT_OUTPUTS,
        "folder for the label maps NAME.npz, made if absent; for a single case also a file ending in .npz",
    )
    prompts: Path | None = _setting(
        None,
        "JSON file with the prompts: one flat dict, or the challenge's file keyed by dataset; or a table "
        "NAME.tsv with a row a file and the columns path, prompts (`;` between them), modality, output",
    )
    dataset: str | None = _setting(
        None,
        "key in the challenge's prompt file; otherwise the longest key that the file name starts with",
    )
    weights: str = _setting("nano", "name of a folder in weights/, or path of a folder with a manifest.json")
    report: Path | None = _setting(
        None,
        "file for the run's report; otherwise report.json beside OUTPUTS, with -i in report/ where the label "
        "maps are",
    )
    threads: int | None = _setting(
        None, "upper limit of CPU threads; otherwise all that affinity and container allow"
    )
    seconds: float | None = _setting(
        None,
        "time for each case; otherwise 60 for each prompt less 3, the first case counted from program start; "
        "with -i as long as it takes",
    )
    runtime: str = _setting("auto", "what runs the network: auto, openvino, onnxruntime or cuda")
    hybrid: str | None = _setting(
        None,
        "stage that takes a user's mask as spatial prompt: coarse or fine, otherwise as the weights say; "
        "off: no mask, boxes or points are read",
    )
    text_embeddings: Path | None = _setting(
        None,
        "npz of text vectors made elsewhere, for weights that look sentences up (VoxTell): labels (N,) and "
        "embeddings (N, T); they go before the weights' own",
    )
    marks: Marks = _setting(NO_MARKS, "boxes and points of --box and --point, see spatial_options")
    images: tuple[Path, ...] = _setting(
        (),
        "your own scans: files, folders of them, DICOM series or patterns such as 'scans/*.nii.gz'; "
        "NAME.nii.gz gives NAME_seg.nii.gz beside it",
        *("-i", "--input"),
        nargs="+",
        action="extend",
        metavar="SCAN",
    )
    output: Path | None = _setting(
        None,
        "with -i: file of the label map of a single scan, or folder for all, made if absent",
        *("-o", "--output"),
        metavar="FILE|FOLDER",
    )
    sentences: tuple[str, ...] = _setting(
        (),
        "what to look for, one or several; in the label map they are 1, 2, ... in this order",
        *("-p", "--prompt"),
        nargs="+",
        action="extend",
        metavar="PROMPT",
    )
    instances: bool = _switch("with -p: every object gets a value of its own")
    modality: str | None = _setting(
        None, "CT, MR, US, PET or Microscopy, of all scans; otherwise as prompts, file or intensities say"
    )
    series: str | None = _setting(
        None, "SeriesInstanceUID of the DICOM series, where there are several; otherwise the largest"
    )
    level: int | None = _setting(None, "resolution level of an OME-Zarr, 0 is the finest")
    volume: int | None = _setting(None, "number of the volume, from 0 on, of a file with several (4D)")
    separate: bool = _switch(
        "with -i: also one mask a prompt, in NAME_seg/; where prompts overlap, each whole"
    )
    probabilities: str | None = _setting(
        None,
        "with -i: also the probability of each prompt, in NAME_seg/: uint8 (0..255, default) or float16",
        nargs="?",
        const="uint8",
        choices=PROBABILITY_TYPES,
    )
    dicom_seg: bool = _switch("with -i, of DICOM series: write a DICOM-SEG, NAME_seg.dcm, instead of NIfTI")
    page: bool = _switch(
        "also write a page to look at, report.html, beside the report; with -i it is written anyway"
    )
    skip_existing: bool = _switch("with -i: leave out scans whose label map is there, whole and for the same")
    dry_run: bool = _switch("tell what would run, with windows, seconds and memory; nothing is written")
    stop_at_error: bool = _switch("end the run at the first case that fails")
    keep_going: bool = _switch("go on with the next case where one fails; this is the default")
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
        self._check_own()
        if not self.weights:
            raise UsageError(f"weights is empty; give a name out of {WEIGHTS} or a folder.")

    @property
    def is_own(self) -> bool:
        """Whether own scans are run, by `-i` or a table, and not the folders of the challenge's contract."""
        return bool(self.images) or self.has_table

    @property
    def has_table(self) -> bool:
        """Whether the file of prompts is a table of files."""
        return self.prompts is not None and self.prompts.name.lower().endswith(TABLE_SUFFIX)

    @property
    def reading(self) -> ReadOptions:
        """Which series, level or volume of a file is the case."""
        return ReadOptions(self.series, self.level, self.volume)

    def _check_own(self) -> None:
        """Check what goes with `-i`, and what goes together."""
        paths = (self.inputs, self.outputs) != (CONTRACT_INPUTS, CONTRACT_OUTPUTS)
        if self.is_own and paths:
            raise UsageError(
                f"there are both INPUTS OUTPUTS ({self.inputs} {self.outputs}) and -i or a table; "
                "give one of them."
            )
        names = ("output", "separate", "probabilities", "dicom_seg", "skip_existing")
        if not self.is_own and (given := [name for name in names if getattr(self, name)]):
            raise UsageError(f"--{given[0].replace('_', '-')} goes with -i; give the scans by -i.")
        if self.sentences and self.prompts is not None:
            raise UsageError("there are both -p and --prompts; give one of them.")
        if any(not sentence.strip() for sentence in self.sentences):
            raise UsageError("a prompt of -p is blank; give words, such as -p liver.")
        if self.instances and not self.sentences:
            raise UsageError("--instances goes with -p; a file of prompts says it by instance_label.")
        if self.stop_at_error and self.keep_going:
            raise UsageError("there are both --stop-at-error and --keep-going; give one of them.")
        for name in ("level", "volume"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise UsageError(f"{name} is {value}; give 0 or more.")
