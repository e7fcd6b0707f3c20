"""The way of a case through the engine, with networks whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import (
    Bright,
    Constant,
    Saved,
    dice,
    made_image,
    make_engine,
    make_prompt,
    make_stages,
    segment,
)
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.planning.profile import Override
from vesal.inference.planning.rules import StageRule
from vesal.postprocess.components import Components
from vesal.postprocess.instances import Instances
from vesal.postprocess.presence import Presence

CUBE = (slice(8, 20), slice(10, 24), slice(6, 26))
LOW, HIGH = (slice(4, 12), slice(4, 12), slice(4, 12)), (slice(18, 28), slice(18, 28), slice(18, 28))
LIVER, SPLEEN = make_prompt(1, "liver"), make_prompt(2, "spleen")
Cut = tuple[slice, slice, slice]


def test_a_cube_is_found_exactly_where_the_volume_fits_one_view() -> None:
    """32^3 voxels at their own grid: both stages see every voxel, so the cube comes back as it is."""
    result = segment(make_engine(), made_image((32, 32, 32), (CUBE, 200)), [LIVER])
    expected = np.zeros((32, 32, 32), np.uint8)
    expected[CUBE] = 1
    np.testing.assert_array_equal(result.labels, expected)
    assert result.labels.dtype == np.uint8
    assert result.fallbacks == []


def test_the_report_counts_what_is_written() -> None:
    """12 x 14 x 20 voxels of 0.5 x 2 x 3 mm: 10.08 ml at probability 1, through both stages."""
    image = made_image((32, 32, 32), (CUBE, 200))
    result = segment(make_engine(), image, [LIVER], spacing_dhw_mm=(2.0, 2.0, 2.0))
    outcome = result.prompts[1]
    assert outcome.voxels == 12 * 14 * 20
    assert outcome.volume_ml == pytest.approx(12 * 14 * 20 * 8 / 1000)
    assert outcome.mean_probability == pytest.approx(1.0, abs=0.02)
    assert (outcome.covered, outcome.stages, outcome.objects) == (True, ("coarse", "fine"), None)
    assert [s.name for s in result.stages] == ["coarse", "fine liver"]
    assert result.stages[0].grid == (32, 32, 32)
    assert result.stages[0].spacing_dhw_mm == (2.0, 2.0, 2.0)
    assert "whole volume" in result.stages[0].why and "coarse result" in result.stages[1].why


@pytest.mark.parametrize(("ids", "dtype"), [((3, 7, 200), np.uint8), ((3, 300, 65535), np.uint16)])
def test_ids_need_not_be_consecutive_and_set_the_type(ids: tuple[int, int, int], dtype: type) -> None:
    """Liver, spleen and an empty one; the ids come out as given."""
    prompts = [make_prompt(ids[0], "spleen"), make_prompt(ids[1], "cell"), make_prompt(ids[2], "liver")]
    image = made_image((32, 32, 32), (LOW, 200), (HIGH, 120))
    engine = make_engine(targets=[(n, None, "CT") for n in ("liver", "spleen")])
    result = segment(engine, image, prompts)
    assert result.labels.dtype == dtype
    assert set(np.unique(result.labels)) == {0, ids[0], ids[2]}
    assert (result.labels[LOW] == ids[2]).all() and (result.labels[HIGH] == ids[0]).all()
    assert {id_: o.voxels for id_, o in result.prompts.items()} == {ids[0]: 1000, ids[1]: 0, ids[2]: 512}


def test_the_largest_id_sets_the_type_even_if_it_is_empty() -> None:
    result = segment(make_engine(), made_image((16, 16, 16)), [LIVER, make_prompt(300, "spleen")])
    assert result.labels.dtype == np.uint16 and not result.labels.any()


def test_300_blobs_become_the_255_largest() -> None:
    """300 blobs of 1 or 2 voxels, far enough apart; the 60 larger ones come first."""
    image = np.full((32, 32, 32), 20, np.uint8)
    places = [(d, h, w) for d in range(1, 31, 3) for h in range(1, 31, 3) for w in range(1, 31, 10)]
    assert len(places) == 300
    for number, (d, h, w) in enumerate(places):
        image[d, h, w : w + (2 if number % 5 == 0 else 1)] = 200
    saved = Saved()
    engine = make_engine(fine=StageRule(window_voxels=32**3))
    result = segment(engine, image, [make_prompt(9, "cell")], save=saved, instance=True)
    sizes = np.bincount(result.labels.ravel())[1:]
    assert result.labels.dtype == np.uint8
    assert len(sizes) == 255
    assert list(sizes[:60]) == [2] * 60 and set(sizes[60:]) == {1}
    outcome = result.prompts[9]
    assert (outcome.objects, outcome.voxels) == (255, 60 * 2 + 195)
    np.testing.assert_array_equal(saved.maps[0] > 0, result.labels > 0)


def test_small_objects_are_dropped_and_not_counted() -> None:
    image = made_image((32, 32, 32), (LOW, 200), ((slice(20, 21),) * 3, 200))
    result = segment(
        make_engine(postprocess=(Instances(min_voxels=2),)),
        image,
        [make_prompt(1, "cell")],
        instance=True,
    )
    assert np.unique(result.labels).tolist() == [0, 1]
    assert (result.prompts[1].objects, result.prompts[1].voxels) == (1, 512)


@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        ((1, 40, 50), (slice(0, 1), slice(10, 30), slice(12, 40))),
        ((2, 40, 50), (slice(1, 2), slice(10, 30), slice(12, 40))),
        ((40, 1, 50), (slice(10, 30), slice(0, 1), slice(12, 40))),
        ((40, 50, 2), (slice(10, 30), slice(12, 40), slice(0, 2))),
        ((1, 1, 1), (slice(0, 1),) * 3),
        ((1, 1, 20), (slice(0, 1), slice(0, 1), slice(5, 15))),
    ],
)
def test_thin_volumes_come_back_in_their_shape(shape: tuple[int, int, int], cut: Cut) -> None:
    """One or two slices, on any axis, fit one view at their own grid and come back exactly."""
    result = segment(make_engine(), made_image(shape, (cut, 200)), [LIVER])
    expected = np.zeros(shape, np.uint8)
    expected[cut] = 1
    np.testing.assert_array_equal(result.labels, expected)


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_thick_slices_on_any_axis(thick: int) -> None:
    """12 slices of 5 mm: the model sees them first, at degree 2, and no slice is lost or mixed up."""
    shape, cut, spacing = [40, 44], [slice(8, 30), slice(10, 36)], [1.0, 1.0]
    shape.insert(thick, 12)
    cut.insert(thick, slice(3, 9))
    spacing.insert(thick, 5.0)
    bright = Bright()
    result = segment(
        make_engine(bright),
        made_image(tuple(shape), (tuple(cut), 200)),
        [LIVER],
        spacing_dhw_mm=tuple(spacing),
    )
    expected = np.zeros(shape, bool)
    expected[tuple(cut)] = True
    np.testing.assert_array_equal(result.labels > 0, expected)
    assert bright.calls[0]["image"].shape == (1, 2, 12, 48, 48)
    assert "degree 2" in result.stages[0].why


def test_the_graph_is_the_one_of_the_degree() -> None:
    bright = [Bright(), Bright(), Bright()]
    engine = make_engine()
    network: Any = engine.model
    network._graphs = dict(enumerate(bright))
    segment(engine, made_image((20, 30, 30), (LOW, 200)), [LIVER], spacing_dhw_mm=(2.0, 1.0, 1.0))
    assert [len(b.calls) for b in bright] == [0, 2, 0]


def test_a_volume_smaller_than_the_window() -> None:
    cut = (slice(2, 6), slice(1, 5), slice(0, 7))
    result = segment(make_engine(), made_image((9, 7, 8), (cut, 200)), [LIVER])
    expected = np.zeros((9, 7, 8), bool)
    expected[cut] = True
    np.testing.assert_array_equal(result.labels > 0, expected)


def test_a_volume_four_times_the_window() -> None:
    """128^3 in a view of 32^3: the coarse stage sees steps of 4, the fine one of 1 about a cube of 20."""
    cut = (slice(70, 90), slice(40, 60), slice(100, 120))
    engine = make_engine(fine=StageRule(window_voxels=32**3, margin_factor=1.6))
    result = segment(engine, made_image((128, 128, 128), (cut, 200)), [LIVER])
    truth = np.zeros((128, 128, 128), bool)
    truth[cut] = True
    coarse, fine = result.stages
    assert coarse.spacing_dhw_mm[0] == pytest.approx(4, rel=0.03)
    assert fine.spacing_dhw_mm == (1.0, 1.0, 1.0)
    assert dice(result.labels > 0, truth) > 0.97


def test_windows_over_a_large_view_find_the_same() -> None:
    """27 windows of 32^3 with half a side shared see a volume of 64^3 as one view of 64^3 does."""
    image = made_image((64, 64, 64), ((slice(20, 50), slice(10, 40), slice(30, 60)), 200))
    rule = StageRule(window_voxels=32**3, max_windows=8)
    many = segment(make_engine(coarse=rule, fine=structs.replace(rule, skip=True)), image, [LIVER])
    one = segment(
        make_engine(coarse=StageRule(window_voxels=64**3), fine=structs.replace(rule, skip=True)),
        image,
        [LIVER],
    )
    assert many.stages[0].windows == 27 and one.stages[0].windows == 1
    np.testing.assert_array_equal(many.labels, one.labels)
    assert many.prompts[1].stages == ("coarse",)


def test_the_fine_stage_sees_the_coarse_result_as_spatial_prompt() -> None:
    bright = Bright()
    segment(make_engine(bright), made_image((32, 32, 32), (CUBE, 200)), [LIVER])
    coarse, fine = bright.calls
    assert not coarse["prompt"].any()
    assert fine["prompt"].max() == pytest.approx(1)
    np.testing.assert_array_equal(fine["prompt"] > 0.5, fine["image"][:, :1] * 127.5 + 127.5 > 180)


def test_later_rounds_see_the_round_before() -> None:
    """A network that always says 0.75: the coarse prompt is 0.75, and so is each later one."""
    constant = Constant(0.75)
    fine = StageRule(window_voxels=32**3, rounds=3)
    result = segment(make_engine(constant, fine=fine), made_image((32, 32, 32)), [LIVER])
    assert [float(c["prompt"].max()) for c in constant.calls] == [0, 0.75, 0.75, 0.75]
    assert result.stages[1].windows == 3
    assert (result.labels == 1).all()


def test_complementary_masks_show_each_half_once() -> None:
    constant = Constant(0.75)
    fine = StageRule(window_voxels=32**3, complementary_block=8)
    segment(make_engine(constant, fine=fine), made_image((32, 32, 32)), [LIVER])
    _, first, second = (c["prompt"][0, 0] for c in constant.calls)
    np.testing.assert_array_equal(first + second, np.full((32, 32, 32), 0.75, np.float32))
    assert np.count_nonzero(first) == 32**3 // 2


def test_what_is_not_covered_comes_out_empty_with_the_reason() -> None:
    prompts = [LIVER, make_prompt(2, "spleen", modality="MR"), make_prompt(5, None)]
    result = segment(make_engine(), made_image((32, 32, 32), (LOW, 200), (HIGH, 120)), prompts)
    assert set(np.unique(result.labels)) == {0, 1}
    assert "spleen in MR is not covered by the weights fakes, only in CT" in result.prompts[2].why
    assert result.prompts[5].why == "no term was found"
    for id_ in (2, 5):
        outcome = result.prompts[id_]
        assert (outcome.covered, outcome.voxels, outcome.volume_ml, outcome.stages) == (False, 0, 0.0, ())
        assert outcome.mean_probability is None


def test_a_case_with_nothing_covered_runs_nothing() -> None:
    bright, saved = Bright(), Saved()
    result = segment(make_engine(bright), made_image((5, 6, 7)), [make_prompt(400, None)], save=saved)
    assert (result.labels.shape, result.labels.dtype, result.labels.max()) == ((5, 6, 7), np.uint16, 0)
    assert bright.calls == [] and saved.maps == [] and result.stages == []


def test_both_sides_answer_an_unsided_prompt() -> None:
    """Two kidneys at level 160, one in each half: `kidney` gets both, `left kidney` its own."""
    left = (slice(8, 20), slice(8, 20), slice(2, 12))
    right = (slice(8, 20), slice(8, 20), slice(20, 30))
    image = made_image((32, 32, 32), (left, 160), (right, 160))
    engine = make_engine(fine=StageRule(window_voxels=32**3, skip=True))
    both = segment(engine, image, [make_prompt(4, "kidney")])
    assert np.count_nonzero(both.labels == 4) == 2 * 12 * 12 * 10
    assert both.prompts[4].covered and "both sides" in both.prompts[4].why
    one = segment(engine, image, [make_prompt(4, "kidney", "left")])
    assert (one.labels[left] == 4).all() and np.count_nonzero(one.labels) == 12 * 12 * 10


def test_a_small_organ_in_one_view_with_a_large_one_is_not_lost() -> None:
    """The fine view of both was laid around the large one alone, which emptied the small one."""
    large, small = (slice(4, 24), slice(4, 24), slice(4, 24)), (slice(27, 31),) * 3
    image = made_image((32, 32, 32), (large, 200), (small, 120))
    result = segment(
        make_engine(fine=StageRule(window_voxels=32**3, margin_factor=1.0)), image, [LIVER, SPLEEN]
    )
    assert result.stages[1].name == "fine liver, spleen"
    assert (result.labels[small] == 2).all()


def test_targets_that_lie_together_share_a_view() -> None:
    """The volume is as fine in one view as in four; kidneys that the coarse stage missed come along."""
    prompts = [LIVER, SPLEEN, make_prompt(3, "kidney", "left"), make_prompt(4, "kidney", "right")]
    image = made_image((32, 32, 32), (LOW, 200), (HIGH, 120))
    result = segment(make_engine(), image, prompts)
    assert [s.name for s in result.stages] == ["coarse", "fine liver, spleen, left kidney, right kidney"]
    assert result.prompts[3].stages == ("coarse", "fine")


def test_targets_get_a_view_each_where_the_profile_says_so() -> None:
    prompts = [LIVER, SPLEEN, make_prompt(3, "kidney", "left"), make_prompt(4, "kidney", "right")]
    image = made_image((32, 32, 32), (LOW, 200), (HIGH, 120))
    result = segment(make_engine(fine=StageRule(window_voxels=32**3, max_targets_per_view=1)), image, prompts)
    assert [s.name for s in result.stages] == ["coarse", "fine liver", "fine spleen"]
    assert result.prompts[3].stages == ("coarse",), "nothing coarse, so nowhere to look"


def test_an_empty_coarse_result_may_be_searched_in_windows() -> None:
    """A speck of 2 voxels a side, too faint at step 4, is found by windows over the whole volume."""
    cut = (slice(41, 43),) * 3
    image = made_image((128, 128, 128), (cut, 200), background=0)
    lost = segment(make_engine(), image, [LIVER])
    assert not lost.labels.any() and lost.prompts[1].stages == ("coarse",)
    fine = StageRule(window_voxels=32**3, max_windows_if_empty=64)
    found = segment(make_engine(fine=fine), image, [LIVER])
    np.testing.assert_array_equal(np.argwhere(found.labels), np.argwhere(image == 200))
    assert "coarse result is empty" in found.stages[1].why
    assert found.stages[1].skipped > 0


def test_a_lower_threshold_keeps_faint_voxels_and_ties_go_to_the_first() -> None:
    """A network that always says 0.35: above 0.3 the first prompt takes everything, above 0.5 none does."""
    image = made_image((16, 16, 16))
    for threshold, expected in ((0.3, {7}), (0.5, {0})):
        rule = StageRule(window_voxels=32**3, threshold=threshold)
        engine = make_engine(Constant(0.35), coarse=rule, fine=structs.replace(rule, skip=True))
        result = segment(engine, image, [make_prompt(7, "liver"), make_prompt(2, "spleen")])
        assert set(np.unique(result.labels)) == expected


@pytest.mark.parametrize("presence", [0.1, 0.9])
def test_slices_without_presence_are_emptied(presence: float) -> None:
    engine = make_engine(Constant(0.9, presence), postprocess=(Presence(threshold=0.5),))
    result = segment(engine, made_image((12, 16, 16)), [LIVER], spacing_dhw_mm=(5.0, 1.0, 1.0))
    assert bool(result.labels.any()) is (presence > 0.5)


def test_components_are_filtered_in_semantic_cases_only() -> None:
    """A large part and a smaller unsure one (level 189 gives 0.725): algorithm 3 keeps the large one."""
    image = made_image((32, 32, 32), (HIGH, 200), ((slice(4, 9),) * 3, 189))
    engine = make_engine(postprocess=(Components(kinds=("organ",)),))
    assert np.count_nonzero(segment(engine, image, [LIVER]).labels) == 1000
    objects = segment(engine, image, [LIVER], instance=True)
    assert np.bincount(objects.labels.ravel())[1:].tolist() == [1000, 125]


def test_overrides_give_a_target_its_own_stages() -> None:
    """The spleen has no coarse stage: its fine one sees the whole volume, without a prompt."""
    bright = Bright()
    stages = make_stages(StageRule(window_voxels=4096, skip=True), StageRule(window_voxels=32**3))
    own = Override("CT", "tissue", stages)
    prompts = [LIVER, make_prompt(2, "spleen", kind="tissue")]
    image = made_image((32, 32, 32), (LOW, 200), (HIGH, 120))
    result = segment(make_engine(bright, overrides=(own,)), image, prompts)
    assert (result.labels[HIGH] == 2).all() and (result.labels[LOW] == 1).all()
    assert result.prompts[2].stages == ("fine",)
    assert "no coarse stage" in result.stages[-1].why
    assert not bright.calls[-1]["prompt"].any()


def test_the_same_input_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (40, 50, 60), np.uint8)
    image[10:30, 10:30, 10:30] = 200
    fine = StageRule(window_voxels=16_000, max_windows=4, complementary_block=8, rounds=2)
    files = []
    for number in range(2):
        result = segment(make_engine(fine=fine), image, [LIVER, SPLEEN])
        files.append(tmp_path / f"{number}.npz")
        write_label_map(files[-1], result.labels)
    assert result.labels.any()
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_input_is_not_changed() -> None:
    image = made_image((32, 32, 32), (CUBE, 200))
    before = image.copy()
    segment(make_engine(), image, [LIVER])
    np.testing.assert_array_equal(image, before)


def test_what_the_fine_stage_takes_back_stays_away() -> None:
    """A network that is sure without a spatial prompt and says no with one."""

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return Constant(0.1 if inputs["prompt"].any() else 0.9)(inputs)

    saved = Saved()
    result = segment(make_engine(graph), made_image((16, 16, 16)), [LIVER], save=saved)
    assert saved.maps[0].all()
    assert not result.labels.any()
    assert result.prompts[1].voxels == 0


def test_windows_that_were_halved_for_want_of_memory_are_told() -> None:
    """A GPU that holds 24^3 voxels and no more: the result is the same, and the report says how."""

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs["image"][0, 0].size > 24**3:
            raise OutOfDeviceMemoryError("no room")
        return Bright()(inputs)

    result = segment(make_engine(graph), made_image((32, 32, 32), (CUBE, 200)), [LIVER])
    expected = np.zeros((32, 32, 32), np.uint8)
    expected[CUBE] = 1
    np.testing.assert_array_equal(result.labels, expected)
    assert [f.partition(":")[0] for f in result.fallbacks] == ["coarse", "fine liver"]
    assert all("do not fit into GPU memory" in f for f in result.fallbacks)
