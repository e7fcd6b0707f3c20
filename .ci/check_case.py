"""Check one output of the container: `check_case.py IMAGE TRUTH OUTPUT [--must-find]`; it judges no score."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from vesal.evaluation.metrics import score_case  # noqa: E402
from vesal.inference.io.formats import read_case  # noqa: E402


def check(image: Path, truth: Path, output: Path, must_find: bool) -> str:
    """Return the scores as text; SystemExit where the output breaks the contract, or is empty."""
    case = read_case(image)
    with np.load(output, allow_pickle=False) as archive:
        if archive.files != ["segs"]:
            raise SystemExit(f"{output.name} holds {archive.files}, wanted one array 'segs'")
        labels = archive["segs"]
    ids = np.unique(labels[labels > 0]).tolist()
    if labels.shape != case.image.shape:
        raise SystemExit(f"{output.name} has shape {labels.shape}, its image {case.image.shape}")
    if labels.dtype != np.min_scalar_type(max(ids, default=0)):
        raise SystemExit(f"{output.name} is {labels.dtype}, its largest id {max(ids, default=0)} needs less")
    if not case.instance and not set(ids) <= set(case.sentences):
        raise SystemExit(f"{output.name} holds the ids {ids}, prompted were {list(case.sentences)}")
    if must_find and not ids:
        raise SystemExit(f"{output.name} is all zero: the default weights know a target of this case")
    with np.load(truth, allow_pickle=False) as archive:
        score = score_case(labels, archive["gts"], list(case.sentences), case.spacing_dhw_mm, case.instance)
    found = f"{labels.shape} {labels.dtype}, {len(ids)} ids"
    return f"{output.name}: {found}, DSC {score.dsc:.3f}, F1 {score.f1:.3f}"


if __name__ == "__main__":
    print(check(*map(Path, sys.argv[1:4]), must_find="--must-find" in sys.argv))
