"""Objects that touch are apart in the mask that is learnt, drawn ones and labelled ones."""

from itertools import islice
from pathlib import Path

import cc3d
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.training.cells import draw_cells  # noqa: E402
from vesal.training.drawn_nuclei import CELLS_EVERY, DATASET, nuclei_volumes  # noqa: E402
from vesal.training.gaps import apart, gaps  # noqa: E402
from vesal.training.store import read_rules, read_volume  # noqa: E402


def test_a_gap_is_one_voxel_wide_and_lies_between_objects_alone() -> None:
    labels = np.array([[[0, 1, 1, 2, 2, 0, 3]]])
    assert gaps(labels).astype(int).tolist() == [[[0, 0, 1, 0, 0, 0, 0]]]
    assert apart(labels).tolist() == [[[0, 1, 0, 1, 1, 0, 1]]]
    assert apart(labels).dtype == np.uint8


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_has_no_piece_of_two_objects(seed: int) -> None:
    labels = draw_cells(np.random.default_rng(seed)).labels
    mask = apart(labels)
    pieces = cc3d.connected_components(mask, connectivity=6)
    for piece in range(1, int(pieces.max()) + 1):
        assert len(np.unique(labels[pieces == piece])) == 1
    assert mask.sum() > 0.6 * (labels > 0).sum()


def test_drawn_nuclei_are_volumes_of_a_set_with_a_rule() -> None:
    volumes = list(islice(nuclei_volumes(), CELLS_EVERY + 1))
    concepts = [v.targets[0].concept for v in volumes]
    assert concepts == ["cell", *["cell nucleus"] * (CELLS_EVERY - 1), "cell"]
    assert all(v.dataset == DATASET and v.instance for v in volumes) and DATASET in read_rules()
    again = next(nuclei_volumes())
    assert np.array_equal(again.image, volumes[0].image) and np.array_equal(again.labels, volumes[0].labels)


def test_a_labelled_instance_volume_has_gaps_and_one_without_contacts_none(tmp_path: Path) -> None:
    labels = np.zeros((8, 8, 8), np.uint16)
    labels[2:6, 2:4, 2:6], labels[2:6, 4:6, 2:6] = 3, 4
    prompts = {"1": "Cell nuclei in light microscopy", "instance_label": 1}
    found = []
    for name, of in {"touching": labels, "joined": (labels > 0).astype(np.uint16)}.items():
        path = tmp_path / "Microscopy_Nuclei" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        content = {"imgs": np.full((8, 8, 8), 9, np.uint8), "gts": of, "spacing": np.ones(3)}
        np.savez(path, **content, text_prompts=prompts)
        found.append(int(np.asarray(read_volume(path).labels).sum()))
    assert found == [64 - 16, 64]
