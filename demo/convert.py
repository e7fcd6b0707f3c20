"""Bring a grey-level volume into the challenge's format, through the reader that the container uses."""

from pathlib import Path

import numpy as np

from vesal.demo.cases import DemoCase
from vesal.inference.data.case import Case
from vesal.inference.io.formats import read_case


def write_challenge_case(demo: DemoCase, folder: Path) -> Case:
    """Write NAME.npz to `folder` and return it as the container will see it.

    `imgs` (D,H,W) uint8, rescaled between the 0.5 and 99.5 percentiles where the source has another type;
    `spacing` in mm in the challenge's order (x,y,z); `text_prompts`. Raises a CaseError for what the
    container would refuse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{demo.name}.npz"
    _write(path, demo.image, demo)
    case = read_case(path)
    _write(path, case.image, demo)
    return case


def _write(path: Path, image: np.ndarray, demo: DemoCase) -> None:
    prompts = {str(prompt_id): sentence for prompt_id, sentence in demo.prompts.items()}
    np.savez_compressed(
        path,
        imgs=image,
        spacing=np.array(demo.spacing_dhw_mm[::-1]),
        text_prompts=np.array(prompts | {"instance_label": int(demo.instance)}, dtype=object),
    )
