"""What a tokenizer reconstructs, measured on volumes whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor, nn  # noqa: E402

from tests.training.made import write_volume  # noqa: E402
from vesal.networks.spad_vt import Tokenized, patch_dhw  # noqa: E402
from vesal.training.tokenizer.report import (  # noqa: E402
    BEST_DB,
    Seen,
    at_degrees,
    content_of,
    in_turns,
    measure,
    middle,
    plot_psnr,
    plot_reconstructions,
    psnr_db,
    table,
)

ABOUT = {
    "steps": 7,
    "seconds": 1800.0,
    "threads": 2,
    "processor": "made",
    "parameters": 9_800_000,
    "codebook": 4,
}


class Darker(nn.Module):
    """Gives the volume back, 0.2 of -1..1 darker; every token is the first of four."""

    def forward(self, image: Tensor, degree: int) -> Tokenized:
        """See ``SpadVt.forward``."""
        sides = [n // side for n, side in zip(image.shape[2:], patch_dhw(degree), strict=True)]
        tokens = torch.zeros(1, 4, *sides)
        tokens[:, 0] = 1
        return Tokenized(tokens, image - 0.2)


def test_psnr_by_hand() -> None:
    image = np.zeros((2, 2), np.uint8)
    assert psnr_db(image, np.full((2, 2), 25.5, np.float32)) == pytest.approx(20.0)
    assert psnr_db(image, image.astype(np.float32)) == BEST_DB


def test_a_volume_at_its_own_degree_and_all_above() -> None:
    image = np.arange(8, dtype=np.uint8).reshape(8, 1, 1) * np.ones((8, 4, 4), np.uint8)
    found = dict(at_degrees(image, (4.0, 1.0, 1.0)))
    assert {degree: part[:, 0, 0].tolist() for degree, part in found.items()} == {
        2: [0, 1, 2, 3, 4, 5, 6, 7],
        3: [0.5, 2.5, 4.5, 6.5],
        4: [1.5, 5.5],
        5: [3],  # a single slice, the middle one
    }
    # Three slices cannot become one of four.
    assert list(dict(at_degrees(image[:3], (4.0, 1.0, 1.0)))) == [2, 3, 5]


def test_the_middle_of_a_volume() -> None:
    image = np.arange(5).reshape(5, 1, 1)
    assert middle(image, (3, 9, 9)).ravel().tolist() == [1, 2, 3]


def test_cases_are_measured_at_every_degree(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "val/CT_Made/CT_Made_1.npz")
    seen, pictures = measure(Darker(), [path])
    assert [s.degree for s in seen] == [0, 1, 2, 3, 5]  # 14 slices make none of 16
    # 0.2 of -1..1 is 25.5 of 255; nothing of the made volume is darker than that.
    assert all(s.psnr_db == pytest.approx(20.0, abs=1e-3) for s in seen)
    assert all(s.token == 0 and s.mean_token == 0 for s in seen)
    assert len(pictures) == len(seen)
    plot_reconstructions(pictures, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_where_the_time_is_over_every_set_still_had_its_turn(tmp_path: Path) -> None:
    names = ("A/1", "A/2", "A/3", "B/1", "C/1", "C/2")
    paths = [tmp_path / f"{name}.npz" for name in names]
    turns = [f"{path.parent.name}/{path.stem}" for path in in_turns(paths)]
    assert turns == ["A/1", "B/1", "C/1", "A/2", "C/2", "A/3"]
    cases = [write_volume(tmp_path / f"val/CT_Made/CT_Made_{n}.npz") for n in range(2)]
    seen, _ = measure(Darker(), cases, until_s=0.0)
    assert {s.case for s in seen} == {"CT_Made_0"}


def made(dataset: str, degree: int, psnr: float) -> Seen:
    """A case with tokens of entropy ln 2."""
    return Seen(dataset, f"{dataset}_{degree}", degree, degree, psnr, psnr / 2, math.log(4), math.log(2))


def test_the_table_has_means_by_set_and_degree() -> None:
    content = content_of([made("A", 0, 20.0), made("A", 2, 30.0), made("B", 2, 34.0)], ABOUT)
    lines = table(content).splitlines()
    assert lines[0] == "| set | cases | degree 0 | degree 2 |"
    assert lines[2:6] == [
        "| A | 2 | 20.0 | 30.0 |",
        "| B | 1 |  | 34.0 |",
        "| **all** | 3 | 20.0 | 32.0 |",
        "| all, means of patches | 3 | 10.0 | 16.0 |",
    ]
    # ln 4 less ln 2
    assert "7 steps in 0.50 h on made, 2 threads; 9.8 M parameters" in lines[-1]
    assert "Mean E(KL(q, uniform)) 0.69 of at most 1.39 nats" in lines[-1]


def test_the_same_content_gives_the_same_picture(tmp_path: Path) -> None:
    content = content_of([made("A", 0, 20.0), made("A", 2, 30.0)], ABOUT)
    for name in ("a.png", "b.png"):
        plot_psnr(content, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
