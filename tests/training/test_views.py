"""Views of made volumes: image, truth and prompt must stay on top of each other whatever is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import LIVER, SHAPE, SPLEEN, made_volume, rule  # noqa: E402
from vesal.inference.geometry.views import View, whole  # noqa: E402
from vesal.training import views  # noqa: E402
from vesal.training.ideas import Ideas  # noqa: E402
from vesal.training.store import Target, Volume  # noqa: E402
from vesal.training.views import build, coarse_item, fine_item, truth_box, unpose  # noqa: E402

VOXELS = 24 * 32 * 32
NATIVE = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 32, 32), 0, 0)
"""The volume itself, with a border behind it."""


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """The made volume, liver and spleen."""
    return made_volume(tmp_path)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change of intensity, and prompts that are not spoiled."""
    monkeypatch.setattr(views, "intensity", lambda image, rng: image)
    monkeypatch.setattr(views, "spoil", lambda prompt, rng: prompt)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def seen(item: views.Item) -> np.ndarray:
    """Intensities 0..255 of the view, as the network gets them."""
    return (item.image[0, 0].numpy() + 1) * 127.5


def test_a_native_view_is_the_volume(volume: Volume, plain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "draw_turn", lambda degree, rng, most_rad: (0, 0.0))
    item = build(volume, NATIVE, "coarse", volume.targets, None, rule(), np.random.default_rng(0))
    inside = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_allclose(seen(item)[inside], volume.image, atol=1e-3)
    assert np.array_equal(item.truth[0, 0].numpy()[inside] > 0, volume.labels == 1)
    assert np.array_equal(item.truth[0, 1].numpy()[inside] > 0, volume.labels == 3)
    assert float(item.truth.sum()) == 384 + 140
    mean, std = volume.statistics
    np.testing.assert_allclose(item.image[0, 1].numpy(), (seen(item) - mean) / std, atol=1e-3)
    assert not item.prompt.any()


@pytest.mark.parametrize("seed", range(12))
def test_image_and_truth_stay_aligned(volume: Volume, plain: None, seed: int) -> None:
    """Mirrored along any axis, turned, scaled and shifted: the bright cube is where the truth says."""
    item = coarse_item(volume, rule(flips="any"), VOXELS, np.random.default_rng(seed))
    liver = [i for i, t in enumerate(item.targets) if t.concept == "liver"][0]
    assert overlap(seen(item) > 130, item.truth[0, liver].numpy() > 0) > 0.85


@pytest.mark.parametrize("spacing_xyz", [(1.0, 1.0, 5.0), (1.0, 5.0, 1.0), (5.0, 1.0, 1.0), (1.0, 1.0, 2.3)])
def test_the_thick_axis_comes_first_and_all_stays_aligned(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch, spacing_xyz: tuple[float, float, float]
) -> None:
    monkeypatch.setattr(views, "FINER", 0.0)
    thick = 2 - int(np.argmax(spacing_xyz))
    volume = made_volume(tmp_path, spacing_xyz=spacing_xyz)
    for seed in range(4):
        item = coarse_item(volume, rule(flips="any"), VOXELS, np.random.default_rng(seed))
        assert item.view.thick_axis == thick and item.view.degree == (2 if max(spacing_xyz) == 5 else 1)
        shape = item.view.shape
        rest = tuple(n for a, n in enumerate(shape) if a != thick)
        assert item.truth.shape[2:] == (shape[thick], *rest)
        assert item.image.shape == (1, 2, *item.truth.shape[2:])
        assert overlap(seen(item) > 130, item.truth[0, 0].numpy() > 0) > 0.75


@pytest.mark.parametrize("thick", [0, 1, 2])
@pytest.mark.parametrize("turned", [(0, 0.0), (0, 0.2), (2, -0.15)])
def test_unpose_takes_a_result_back_onto_the_view(
    volume: Volume, plain: None, monkeypatch: pytest.MonkeyPatch, thick: int, turned: tuple[int, float]
) -> None:
    monkeypatch.setattr(views, "draw_flips", lambda flips, rng, share: (0, 2))
    monkeypatch.setattr(views, "draw_turn", lambda degree, rng, most_rad: turned)
    view = replace(NATIVE, thick_axis=thick, degree=0)
    item = build(volume, view, "coarse", volume.targets, None, rule(), np.random.default_rng(0))
    back = unpose(item.truth[0], item)
    assert back.shape == (2, *view.shape)
    inside = tuple(slice(0, n) for n in SHAPE)
    for result, label in zip(back, (1, 3), strict=True):
        expected = volume.labels == label
        if turned[1] == 0:
            assert np.array_equal(result[inside] > 0.5, expected)
        else:
            assert overlap(result[inside] > 0.5, expected) > 0.85


def test_an_absent_target_has_no_truth(volume: Volume) -> None:
    absent = Target("prostate", "prostate", None, "CT", 0)
    item = coarse_item(volume, rule(), VOXELS, np.random.default_rng(0), (absent,))
    assert [t.concept for t in item.targets] == ["liver", "spleen", "prostate"]
    assert item.truth[0, 0].any() and item.truth[0, 1].any()
    assert not item.truth[0, 2].any()  # although background has the absent target's label, 0


def test_no_more_targets_than_fit_are_asked_for(volume: Volume) -> None:
    many = replace(volume, targets=volume.targets * 5)
    item = coarse_item(many, rule(), VOXELS, np.random.default_rng(0))
    assert len(item.targets) == views.MOST_TARGETS == item.truth.shape[1]


def test_the_box_of_targets_is_tight(volume: Volume) -> None:
    for targets, slices in ((volume.targets[:1], (LIVER, LIVER)), (volume.targets, (LIVER, SPLEEN))):
        box = truth_box(volume, targets)
        assert box.start == tuple(min(a.start, b.start) for a, b in zip(*slices, strict=True))
        assert box.stop == tuple(max(a.stop, b.stop) for a, b in zip(*slices, strict=True))


def result_of(item: views.Item) -> np.ndarray:
    """The coarse stage's answer if it were perfect: on the view, each class 0 or 1."""
    return (unpose(item.truth[0], item) > 0.5).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_a_fine_view_is_prompted_by_the_coarse_result(
    volume: Volume, plain: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(views, "SOME", 0.0)
    rng = np.random.default_rng(seed)
    coarse = coarse_item(volume, rule(flips="any"), VOXELS, rng)
    fine = fine_item(coarse, result_of(coarse), rule(flips="any"), VOXELS, rng)
    assert fine.stage == "fine" and fine.prompt.shape == fine.truth.shape
    assert fine.targets == coarse.targets
    assert float(fine.prompt.min()) >= 0 and float(fine.prompt.max()) <= 1
    for prompt, truth in zip(fine.prompt[0].numpy(), fine.truth[0].numpy(), strict=True):
        assert overlap(prompt > 0.5, truth > 0) > 0.6
    assert overlap(seen(fine) > 130, fine.truth[0, 0].numpy() > 0) > 0.85


@pytest.mark.parametrize("crops", [0.0, 1.0])
def test_a_fine_view_shows_its_target_even_if_the_coarse_stage_found_nothing(
    volume: Volume, crops: float
) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(volume, rule(), VOXELS, rng)
        nothing = np.zeros((2, *coarse.view.shape), np.float32)
        fine = fine_item(coarse, nothing, rule(crops=crops), VOXELS, rng)
        assert fine.truth.any()
        assert fine.prompt.shape == fine.truth.shape


def test_a_coarse_result_far_off_does_not_lead_the_fine_view_astray(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "FOREIGN_BOX", 0.0)
    only_liver = replace(volume, targets=volume.targets[:1])
    for seed in range(6):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(only_liver, rule(), VOXELS, rng)
        wrong = np.zeros((1, *coarse.view.shape), np.float32)
        wrong[:, -3:, -3:, -3:] = 1
        fine = fine_item(coarse, wrong, rule(), VOXELS, rng)
        assert fine.truth.sum() > 100


def test_targets_that_lie_together_share_a_view_and_the_absent_one_is_asked_beside(volume: Volume) -> None:
    absent = Target("prostate", "prostate", None, "CT", 0)
    asked = set()
    for seed in range(16):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(volume, rule(), VOXELS, rng, (absent,))
        fine = fine_item(coarse, result_of(coarse), rule(), VOXELS, rng)
        concepts = tuple(t.concept for t in fine.targets)
        assert concepts[-1] == "prostate" and not fine.truth[0, -1].any()
        assert fine.truth[0, :-1].flatten(1).any(1).all()
        asked.add(concepts[:-1])
    # Both fit one view at their own spacing; half of the views are for some of them alone.
    assert asked == {("liver", "spleen"), ("liver",), ("spleen",)}


def test_targets_that_lie_apart_get_a_view_each(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "TOGETHER", 1)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(volume, rule(), VOXELS, rng)
        assert len(fine_item(coarse, result_of(coarse), rule(), VOXELS, rng).targets) == 1


def test_views_keep_to_their_number_of_voxels(volume: Volume) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(volume, rule(), VOXELS, rng)
        for crops in (0.0, 1.0):
            fine = fine_item(coarse, result_of(coarse), rule(crops=crops), VOXELS, rng)
            assert fine.image[0, 0].numel() <= VOXELS
        assert coarse.image[0, 0].numel() <= VOXELS


def test_the_same_seed_builds_the_same_view(volume: Volume) -> None:
    one, other = (coarse_item(volume, rule(flips="any"), VOXELS, np.random.default_rng(5)) for _ in range(2))
    assert one.view == other.view and torch.equal(one.image, other.image)


def test_a_coarse_view_covers_most_of_the_volume(volume: Volume) -> None:
    for seed in range(6):
        view = coarse_item(volume, rule(), VOXELS, np.random.default_rng(seed)).view
        for a, b, c, d in zip(
            view.box.start, view.box.stop, whole(SHAPE).start, whole(SHAPE).stop, strict=True
        ):
            assert min(b, d) - max(a, c) > 0.7 * (d - c)


def test_in_a_mirrored_view_the_sides_are_swapped_in_the_question_only(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    left = tuple(replace(t, side="left") for t in volume.targets)
    mirrored = 0
    for seed in range(20):
        item = coarse_item(
            replace(volume, targets=left), rule(flips="mirror 2"), VOXELS, np.random.default_rng(seed)
        )
        assert {t.side for t in item.targets} == {"left"}
        assert {t.side for t in item.asked} == {"right" if item.flips else "left"}
        mirrored += bool(item.flips)
    assert 3 < mirrored < 17


def test_without_a_generator_nothing_is_changed(volume: Volume) -> None:
    item = build(volume, NATIVE, "coarse", volume.targets, None, rule(flips="any"), None)
    inside = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_allclose(seen(item)[inside], volume.image, atol=1e-3)
    assert item.flips == () and item.turned == (0, 0.0) and item.knots is None


def test_without_own_prompts_the_truth_is_the_prompt(volume: Volume, plain: None) -> None:
    rng = np.random.default_rng(1)
    ideas = Ideas().without(["own", "elastic", "flips", "simulation"])
    coarse = coarse_item(volume, rule(), VOXELS, rng, (), ideas)
    nothing = np.zeros((len(coarse.targets), *coarse.view.shape), np.float32)
    item = fine_item(coarse, nothing, rule(), VOXELS, rng, ideas)
    assert overlap(item.prompt[0, 0].numpy() > 0.5, item.truth[0, 0].numpy() > 0.5) > 0.9
