"""The demo's cases: volumes with a reference, as arrays with prompts and the place where they are scored.

Neither belongs to the data that the default weights learned from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.demo.packages import PackagedFile, fetch
from vesal.demo.volumes import read_tiff
from vesal.inference.io.nifti import read_nifti

STARDIST, NILEARN = ("stardist", "0.9.2"), ("nilearn", "0.14.1")
NUCLEI_IMAGE = PackagedFile(
    *STARDIST,
    "stardist/data/images/img3d.tif",
    "f5626d500c7a738cd321698f43df36e2ac149d98456579c5cbcf8af48c7253e8",
)
NUCLEI_MASK = PackagedFile(
    *STARDIST,
    "stardist/data/images/mask3d.tif",
    "a2ff51b712941a90cf3a5628b11f04f5d7fa3f29c808c065d3be6ff938b215a1",
)
BRAIN_T1, BRAIN_GREY, BRAIN_WHITE = (
    PackagedFile(
        *NILEARN, f"nilearn/datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz", digest
    )
    for kind, digest in (
        ("t1", "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6"),
        ("gm", "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed"),
        ("wm", "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db"),
    )
)

# The voxel at MNI's origin along z and x: the offsets of the file's affine, at 1 mm.
ORIGIN_Z, ORIGIN_X = 72, 98
# The body of the caudate, the highest of the deep grey nuclei, ends below this height over z = 0.
ABOVE_DEEP_NUCLEI_MM = 30


@dataclass(frozen=True)
class DemoCase:
    """A volume and what is known about it.

    `image` (D,H,W) of the source's type and `truth` (D,H,W) unsigned: prompt ids, or objects where
    `instance`. `scored` is the part of the volume in which `truth` is complete; outside it is 0. `directions`
    names the end of the body that each axis runs to (L, R, A, P, S, I), None where there is no body; `unit`
    is what `spacing_dhw_mm` counts.
    """

    name: str
    title: str
    image: np.ndarray
    truth: np.ndarray
    spacing_dhw_mm: tuple[float, float, float]
    prompts: dict[int, str]
    instance: bool
    scored: tuple[slice, slice, slice]
    directions: tuple[str, str, str] | None
    unit: str
    source: str


def nuclei(folder: Path) -> DemoCase:
    """Return StarDist's test stack: 51 nuclei, simulated; its package states no spacing, so voxels count."""
    image, mask = (read_tiff(fetch(wanted, folder)) for wanted in (NUCLEI_IMAGE, NUCLEI_MASK))
    return DemoCase(
        name="Microscopy_Nuclei_stardist",
        title="Nuclei, light microscopy (simulated)",
        image=image,
        truth=mask,
        spacing_dhw_mm=(1.0, 1.0, 1.0),
        prompts={1: "Cell nuclei imaged by fluorescence microscopy"},
        instance=True,
        scored=(slice(None), slice(None), slice(None)),
        directions=None,
        unit="voxels",
        source=f"{NUCLEI_IMAGE.package} {NUCLEI_IMAGE.version}, {NUCLEI_IMAGE.member}",
    )


def brain(folder: Path) -> DemoCase:
    """Return the MNI152 brain at 1 mm, laid out as FreeSurfer does: left, inferior, anterior.

    Its maps hold grey and white matter of the whole brain, the prompts ask for cortex and white matter of the
    cerebrum: they agree above deep nuclei, ventricles and cerebellum, and only there is the case scored.
    """
    files = (BRAIN_T1, BRAIN_GREY, BRAIN_WHITE)
    image, grey, white = (_as_freesurfer(read_nifti(fetch(file, folder))) for file in files)
    height = image.shape[1] - (ORIGIN_Z + ABOVE_DEEP_NUCLEI_MM)
    truth = _tissue_labels(grey, white)
    truth[:, height:] = 0
    return DemoCase(
        name="MR_Brain_mni152",
        title="Brain, T1-weighted MR (MNI152 template)",
        image=image,
        truth=truth,
        spacing_dhw_mm=(1.0, 1.0, 1.0),
        prompts={
            1: "Left cerebral white matter in brain T1 MRI",
            2: "Right cerebral white matter in brain T1 MRI",
            3: "Left cerebral cortex in brain T1 MRI",
            4: "Right cerebral cortex in brain T1 MRI",
        },
        instance=False,
        scored=(slice(None), slice(0, height), slice(None)),
        directions=("L", "I", "A"),
        unit="mm",
        source=f"{BRAIN_T1.package} {BRAIN_T1.version}, {BRAIN_T1.member}",
    )


CASES: dict[str, Callable[[Path], DemoCase]] = {"nuclei": nuclei, "brain": brain}


def _as_freesurfer(stored: np.ndarray) -> np.ndarray:
    """Turn (z,y,x), running to superior, anterior, right, into axes running to left, inferior, anterior."""
    return np.ascontiguousarray(stored.transpose(2, 0, 1)[::-1, ::-1])


def _tissue_labels(grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return ids 1..4 (left and right white matter, left and right cortex) where one map is above one half.

    The halves meet in the plane x = 0 of the template, which is symmetric; the plane itself counts as left.
    """
    labels = np.where(white > 127, 1, np.where(grey > 127, 3, 0)).astype(np.uint8)
    right = np.arange(labels.shape[0]) < labels.shape[0] - 1 - ORIGIN_X
    labels[right] += (labels[right] > 0).astype(np.uint8)
    return labels
