"""What the challenge's cases do not need is not imported by them."""

import subprocess
import sys
from pathlib import Path

from tests.inference.fakes import write_case

FOREIGN = ("nibabel", "pydicom", "SimpleITK", "tifffile", "zarr", "numcodecs", "pylibjpeg", "highdicom")
OURS = (
    "nifti_case",
    "nifti_labels",
    "itk_case",
    "dicom_case",
    "dicom_files",
    "tiff_case",
    "zarr_case",
    "volume_reader",
)


def test_a_run_on_npz_imports_no_other_format(tmp_path: Path) -> None:
    """Neither the libraries, nor our own readers; a folder beside the case is looked into for DICOM."""
    write_case(tmp_path / "a.npz")
    code = (
        "import sys; from pathlib import Path; from vesal.inference.runner.case_paths import find_cases; "
        "from vesal.inference.io.formats import open_case; import vesal.inference.runner.run; "
        f"(case,) = find_cases(Path({str(tmp_path)!r}), Path({str(tmp_path / 'out')!r})); "
        "reader = open_case(case.input); case = reader.read(); "
        "reader.read_user_prompts(case.sentences, case.image.shape, False); "
        f"print([n for n in {FOREIGN} if n in sys.modules], "
        f"[n for n in {OURS} if 'vesal.inference.io.' + n in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[] []", done.stderr
