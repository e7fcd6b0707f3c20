"""Cases that lie another way than their targets were learned, with a network that knows one way only."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import (
    Bright,
    Saved,
    made_image,
    make_case,
    make_engine,
    make_prompt,
    make_stages,
    segment,
)
from vesal.inference.api import Model
from vesal.inference.data.case import Case
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.engine import Engine
from vesal.inference.geometry.views import View
from vesal.inference.io.formats import read_case
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.planning.rules import OrientationRule, StageRule
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.stages.orientation import (
    REVERSALS,
    depends_on_orientation,
    mean_confidence,
)
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.timing.clock import Clock

SHAPE = (32, 32, 32)
LIVER_AT, SPLEEN_AT = (slice(4, 10), slice(6, 14), slice(5, 20)), (slice(18, 28), slice(16, 30), slice(3, 9))
TOP = (slice(0, 3), slice(0, 3), slice(0, 32))
"""What the network tells the way by: it lies at the beginning of D and H, and all along W."""
IMAGE = made_image(SHAPE, (LIVER_AT, 200), (SPLEEN_AT, 120), (TOP, 255))
LIVER, SPLEEN = make_prompt(1, "liver"), make_prompt(2, "spleen")
RULE = OrientationRule(low_confidence=0.9, min_gain=0.05, min_confidence=0.75)


class Upright(Bright):
    """Sure of what it finds as long as the brightest voxels lie at the beginning of D and H."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = inputs["image"][0, 0]
        top = np.argwhere(image > 0.95 * image.max()).mean(0)
        wrong = sum(top[axis] > image.shape[axis] / 2 for axis in (0, 1))
        self.sure = 1.0 - 0.2 * wrong
        return super().__call__(inputs)


def reverse_axes(volume: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(D, H, W) reversed along some axes."""
    return Orientation(reversed=axes).back(volume)


def truth() -> np.ndarray:
    """(D, H, W) uint8: liver 1 and spleen 2 of ``IMAGE``."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[LIVER_AT], labels[SPLEEN_AT] = 1, 2
    return labels


def run(image: np.ndarray, **rules):
    """Labels, report and what was saved on the way, of both prompts."""
    saved = Saved()
    engine = make_engine(Upright(), **({"any_orientation": False, "orientation": RULE} | rules))
    return segment(engine, image, [LIVER, SPLEEN], save=saved), saved


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_reversed_case_gives_what_the_case_gives(axes: tuple[int, ...]) -> None:
    result, saved = run(reverse_axes(IMAGE, axes))
    want = reverse_axes(truth(), axes)
    np.testing.assert_array_equal(result.labels, want)
    assert result.labels.flags.c_contiguous
    np.testing.assert_array_equal(saved.maps[-1], want)  # the coarse result lies as the case does, too
    assert result.fallbacks == []
    names = [stage.name for stage in result.stages]
    assert names == ["coarse", "orientation", "coarse", "fine liver, spleen"]
    stage = result.stages[1]
    assert str(Orientation(reversed=axes)) in stage.why
    assert stage.windows == len(REVERSALS)
    assert result.prompts[1].stages == ("coarse", "fine")


def test_a_case_that_lies_as_it_was_learned_is_looked_at_once() -> None:
    result, _ = run(IMAGE)
    np.testing.assert_array_equal(result.labels, truth())
    assert [stage.name for stage in result.stages] == ["coarse", "fine liver, spleen"]


def test_a_mirror_image_that_looks_the_same_stays_as_it_is_stored() -> None:
    """Along W the network sees no difference: D alone is taken, not D and W."""
    result, _ = run(reverse_axes(IMAGE, (0, 2)))
    np.testing.assert_array_equal(result.labels, reverse_axes(truth(), (0, 2)))
    assert "with D reversed" in result.stages[1].why


def test_what_is_unclear_in_every_way_stays_as_it_is_stored() -> None:
    dim = np.where(IMAGE == 255, 20, IMAGE).astype(np.uint8)
    engine = make_engine(Bright(0.7), any_orientation=False, orientation=RULE)
    result = segment(engine, dim, [LIVER, SPLEEN])
    np.testing.assert_array_equal(result.labels, truth())
    assert "not much higher in any other orientation" in result.stages[1].why


@pytest.mark.parametrize(
    "rules",
    [{"any_orientation": True}, {"orientation": None}],
    ids=["targets that training turned", "weights without a rule"],
)
def test_other_ways_are_not_tried_for(rules: dict) -> None:
    result, saved = run(reverse_axes(IMAGE, (0,)), **rules)
    assert [stage.name for stage in result.stages] == ["coarse", "fine liver, spleen"]
    assert len(saved.maps) == 1


def test_one_target_alone_decides_nothing() -> None:
    engine = make_engine(Upright(), any_orientation=False, orientation=RULE)
    result = segment(engine, reverse_axes(IMAGE, (0,)), [LIVER])
    assert "orientation" not in [stage.name for stage in result.stages]


def test_a_way_that_is_only_less_unclear_is_not_taken() -> None:
    """All that it finds in its best way is below ``min_confidence``: it may be something else."""
    engine = make_engine(
        Upright(),
        any_orientation=False,
        orientation=structs.replace(RULE, low_confidence=1.0, min_confidence=1.0),
    )
    image = reverse_axes(IMAGE, (0,))
    image[image == 200] = 210  # a quarter off the liver's brightness: .75 sure of it at best
    result = segment(engine, image, [LIVER, SPLEEN])
    assert "not much higher" in result.stages[1].why
    assert (result.labels == 1)[reverse_axes(truth(), (0,)) == 1].all()


def test_one_target_among_many_that_were_turned_decides_nothing() -> None:
    engine = make_engine(Upright(), any_orientation=True, orientation=RULE)
    free = [structs.replace(t, any_orientation=t.concept != "liver") for t in engine.profile.targets]
    engine.profile = replace(engine.profile, targets=tuple(free))
    prompts = [LIVER, SPLEEN, make_prompt(3, "cell")]
    result = segment(engine, reverse_axes(IMAGE, (0,)), prompts)
    assert "orientation" not in [stage.name for stage in result.stages]


def test_without_time_the_case_stays_as_it_is_stored() -> None:
    """Every look at the clock takes a second, so that seven more looks would take a tenth of what is left."""
    ticks = iter(range(100_000))
    clock = Clock(200.0, 0.0, lambda: float(next(ticks)))
    engine = make_engine(Upright(), any_orientation=False, orientation=RULE)
    result = segment(engine, reverse_axes(IMAGE, (0,)), [LIVER, SPLEEN], clock=clock)
    assert "orientation" not in [stage.name for stage in result.stages]
    np.testing.assert_array_equal(result.labels, reverse_axes(truth(), (0,)))


def test_a_mask_in_the_coarse_stage_leaves_the_case_as_it_is_stored() -> None:
    """It is sure of what the user marked, in whatever way the case lies."""
    engine = make_engine(Upright(), any_orientation=False, orientation=RULE)
    engine.mask_stage = "coarse"
    image = reverse_axes(IMAGE, (0,))
    case = make_case(image, [LIVER, SPLEEN])
    marked = UserMask((reverse_axes(truth(), (0,)) == 1).astype(np.uint16), (1,), "made")
    still = Clock(600.0, 0.0, lambda: 0.0)
    result = engine.segment(replace(case, user=UserPrompts(marked)), [LIVER, SPLEEN], still, Saved())
    assert "orientation" not in [stage.name for stage in result.stages]


def test_a_real_head_is_found_however_it_is_stored(shared: Path) -> None:
    """With the shipped weights; without other ways nothing of it but the spinal cord is found face down."""
    path = min((shared / "data" / "val" / "CT_HeadNeck").glob("*.npz"))
    case, engine = read_case(path), Engine.open()
    prompts, _ = parse_prompts(case.sentences, name=case.name, image=case.image)
    as_stored, face_down = (
        engine.segment(c, prompts, Clock(600.0, 0.0, lambda: 0.0), Saved())
        for c in (case, Orientation(reversed=(1,)).turn_case(case))
    )
    assert len(np.unique(as_stored.labels)) == 1 + len(prompts)
    np.testing.assert_array_equal(reverse_axes(face_down.labels, (1,)), as_stored.labels)


def test_user_prompts_turn_with_their_case() -> None:
    mask = UserMask(truth().astype(np.uint16), (1, 2), "made")
    box, voxel = VoxelBox((1, 2, 3), (4, 6, 9)), (5, 6, 7)
    user = UserPrompts(mask, {1: (box,)}, {2: (Point(voxel, False),)})
    case = replace(make_case(IMAGE, [LIVER]), user=user)
    turned = Orientation(reversed=(1, 2)).turn_case(case)
    assert turned.user.mask is not None
    np.testing.assert_array_equal(turned.user.mask.labels, truth()[:, ::-1, ::-1])
    np.testing.assert_array_equal(turned.image, IMAGE[:, ::-1, ::-1])
    found = turned.user.boxes[1][0]
    inside = tuple(slice(a, b) for a, b in zip(found.start, found.stop, strict=True))
    np.testing.assert_array_equal(turned.image[inside], IMAGE[1:4, 2:6, 3:9][:, ::-1, ::-1])
    assert turned.image[turned.user.points[2][0].voxel] == IMAGE[voxel]
    assert Orientation(reversed=(1,)).turn_case(make_case(IMAGE, [LIVER])).user == UserPrompts()


def test_sureness_is_the_mean_over_queries_of_p_weighted_by_itself() -> None:
    """(.9^2 + .6^2) / (.9 + .6) = .78 for one, nothing for another that stays below one half."""
    probability = np.zeros((2, 4, 4, 4), np.float32)
    probability[0, 0, 0, :2] = 0.9, 0.6
    probability[1] = 0.4
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 4), 0, 0)
    result = StageResult(view, probability, np.ones((2, 4), np.float32), 1, 0, 0.0, "")
    assert mean_confidence([result]) == pytest.approx(0.78 / 2)
    assert mean_confidence([result, result]) == pytest.approx(0.78 / 2)


def test_a_plan_is_bound_to_a_way_by_two_targets_and_half_of_all() -> None:
    rule = StageRule(window_voxels=32**3)
    one = Query(1, "liver", "liver", None, "CT", "organ")
    free = replace(one, any_orientation=True)
    stages = make_stages(rule, rule)
    assert depends_on_orientation(Plan((Batch((one, free, one, free), stages),), {}, {}))
    assert not depends_on_orientation(Plan((Batch((one, free, one, free, free), stages),), {}, {}))
    assert not depends_on_orientation(Plan((Batch((one,), stages),), {}, {}))
    assert not depends_on_orientation(Plan((), {}, {}))


BAR = (slice(0, 2), slice(0, 6), slice(0, 32))
"""As ``TOP``, but D and H differ."""
BARRED = made_image(SHAPE, (LIVER_AT, 200), (SPLEEN_AT, 120), (BAR, 255))
WITH_ORDERS = structs.replace(RULE, axes_below=0.8)
ALL_ORDERS = list(permutations(range(3)))


class Ordered(Bright):
    """Sure of what it finds as long as the brightest voxels lie as in ``BAR``, W reversed or not."""

    def __init__(self, reversals_matter: bool = True) -> None:
        super().__init__()
        self.reversals_matter = reversals_matter

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = inputs["image"][0, 0]
        at = np.argwhere(image > image.max() - 0.05)
        wrong = sum(np.argsort(np.ptp(at, axis=0)) != range(3))
        if self.reversals_matter:
            wrong += sum(at.mean(0)[axis] > image.shape[axis] / 2 for axis in (0, 1))
        self.sure = max(0.55, 1.0 - 0.15 * wrong)
        return super().__call__(inputs)


def stored_as(orientation: Orientation, image: np.ndarray) -> np.ndarray:
    """The volume that lies as ``image`` does once it is turned by ``orientation``."""
    return orientation.back(image)


@pytest.mark.parametrize("axes", [(), *REVERSALS])
@pytest.mark.parametrize("order", ALL_ORDERS)
def test_all_48_ways_to_store_a_case_give_what_the_case_gives(order, axes) -> None:
    orientation = Orientation(order, axes)
    engine = make_engine(Ordered(), any_orientation=False, orientation=WITH_ORDERS)
    saved = Saved()
    result = segment(engine, stored_as(orientation, BARRED), [LIVER, SPLEEN], save=saved)
    np.testing.assert_array_equal(result.labels, stored_as(orientation, truth()))
    np.testing.assert_array_equal(saved.maps[-1], result.labels)
    assert result.labels.flags.c_contiguous
    # W and its mirror image are the same to the network: that with fewer reversed axes is taken.
    assert result.orientation.order == order
    assert set(result.orientation.reversed) - {2} == set(axes) - {2}


@pytest.mark.parametrize("order", ALL_ORDERS)
def test_targets_of_any_orientation_are_searched_for_by_the_order_of_axes_alone(order) -> None:
    engine = make_engine(Ordered(False), any_orientation=True, orientation=WITH_ORDERS)
    result = segment(engine, stored_as(Orientation(order), BARRED), [LIVER, SPLEEN])
    np.testing.assert_array_equal(result.labels, stored_as(Orientation(order), truth()))
    assert result.orientation == Orientation(order)
    stages = {stage.name: stage for stage in result.stages}
    assert ("orientation" in stages) is (order != (0, 1, 2))
    if order != (0, 1, 2):
        assert stages["orientation"].windows <= 5
        assert "axes in the order" in stages["orientation"].why


def test_a_case_that_was_turned_is_told_with_the_sides_that_may_be_exchanged() -> None:
    engine = make_engine(Ordered(), any_orientation=False, orientation=WITH_ORDERS)
    volume = BARRED.copy()
    volume[20:28, 8:14, 14:22] = 160  # a kidney
    image = stored_as(Orientation((1, 0, 2)), volume)
    kidney = make_prompt(3, "kidney", "left")
    for prompts, sides in (([LIVER, SPLEEN], False), ([LIVER, SPLEEN, kidney], True)):
        (note,) = segment(engine, image, prompts).notes
        assert "segmented with axes in the order H, D, W" in note
        assert ("may be exchanged: left kidney" in note) is sides
    assert segment(engine, BARRED, [LIVER, SPLEEN]).notes == ()


def test_probabilities_lie_as_the_case_does() -> None:
    order = Orientation((2, 0, 1))
    image, spacing = stored_as(order, BARRED), (1.0, 1.0, 1.0)
    model = Model(make_engine(Ordered(), any_orientation=False, orientation=WITH_ORDERS))
    result = model.segment(image, spacing, ["liver", "spleen"], modality="CT")
    assert (result.probability(0)[result.labels == 1] > 0.5).all() and (result.labels == 1).any()


@pytest.mark.parametrize(
    "changes",
    [{"axes_below": 0.0}, {"min_confidence": 1.0}],
    ids=["a rule without orders", "none is good enough"],
)
def test_axes_stay_as_they_are_stored_with(changes) -> None:
    rule = structs.replace(WITH_ORDERS, **changes)
    engine = make_engine(Ordered(False), any_orientation=True, orientation=rule)
    result = segment(engine, stored_as(Orientation((1, 0, 2)), BARRED), [LIVER, SPLEEN])
    assert result.orientation == STORED


def test_one_target_alone_does_not_exchange_axes() -> None:
    engine = make_engine(Ordered(False), any_orientation=True, orientation=WITH_ORDERS)
    assert segment(engine, stored_as(Orientation((1, 0, 2)), BARRED), [LIVER]).orientation == STORED


def test_absent_targets_do_not_exchange_axes() -> None:
    """The mean is low for their sake, but what is there is found well."""
    engine = make_engine(Ordered(False), any_orientation=True, orientation=WITH_ORDERS)
    absent = make_prompt(3, "cell")
    image = np.where(BARRED == 200, 0, BARRED).astype(np.uint8)
    result = segment(engine, image, [SPLEEN, absent])
    assert "orientation" not in [stage.name for stage in result.stages]
    most = segment(engine, image, [LIVER, SPLEEN, absent])  # one alone may be found in any order
    assert "not much higher" in {stage.name: stage.why for stage in most.stages}["orientation"]


def test_a_thick_axis_leaves_one_exchange() -> None:
    """The engine brings it to the front in any order."""
    rule = structs.replace(WITH_ORDERS, min_confidence=1.0)
    engine = make_engine(Ordered(False), any_orientation=True, orientation=rule)
    spacing = (4.0, 1.0, 1.0)
    image = stored_as(Orientation((0, 2, 1)), BARRED)
    case = replace(make_case(image, [LIVER, SPLEEN]), spacing_dhw_mm=spacing)
    result = engine.segment(case, [LIVER, SPLEEN], Clock(600.0, 0.0, lambda: 0.0), Saved())
    assert [stage.windows for stage in result.stages if stage.name == "orientation"] == [1]


def test_user_prompts_and_spacing_follow_the_order_of_axes() -> None:
    mask = UserMask(truth().astype(np.uint16), (1, 2), "made")
    box, voxel = VoxelBox((1, 2, 3), (4, 6, 9)), (5, 6, 7)
    user = UserPrompts(mask, {1: (box,)}, {2: (Point(voxel, False),)})
    case = replace(make_case(IMAGE, [LIVER]), user=user, spacing_dhw_mm=(3.0, 2.0, 1.0))
    orientation = Orientation((2, 0, 1), (1,))
    turned = orientation.turn_case(case)
    assert turned.spacing_dhw_mm == (1.0, 3.0, 2.0)
    np.testing.assert_array_equal(turned.image, IMAGE.transpose(2, 0, 1)[:, ::-1])
    np.testing.assert_array_equal(orientation.back(turned.image), IMAGE)
    assert turned.user.mask is not None
    np.testing.assert_array_equal(orientation.back(turned.user.mask.labels), mask.labels)
    found = turned.user.boxes[1][0]
    inside = np.zeros(SHAPE, bool)
    inside[tuple(slice(a, b) for a, b in zip(found.start, found.stop, strict=True))] = True
    want = np.zeros(SHAPE, bool)
    want[1:4, 2:6, 3:9] = True
    np.testing.assert_array_equal(orientation.back(inside), want)
    assert turned.image[turned.user.points[2][0].voxel] == IMAGE[voxel]


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1)])
def test_a_real_abdomen_is_found_with_its_axes_in_another_order(shared: Path, order) -> None:
    """With the shipped weights, thinned in plane; as stored only a part of the liver is found."""
    path = shared / "cases" / "imgs" / "CT_AMOS_amos_0018.npz"
    whole = read_case(path)
    d, h, w = whole.spacing_dhw_mm
    names = {1: "liver in CT", 2: "spleen in CT", 3: "left kidney in CT", 4: "right kidney in CT"}
    image = np.ascontiguousarray(whole.image[:, ::2, ::2])
    case = replace(whole, image=image, spacing_dhw_mm=(d, 2 * h, 2 * w), sentences=names)
    prompts, _ = parse_prompts(names, name=case.name, image=image)
    engine, orientation = Engine.open(), Orientation(order)
    as_stored, turned = (
        engine.segment(c, prompts, Clock(600.0, 0.0, lambda: 0.0), Saved())
        for c in (case, stored_case(orientation, case))
    )
    assert as_stored.orientation == STORED and turned.orientation == orientation
    np.testing.assert_array_equal(orientation.turn(turned.labels), as_stored.labels)


def stored_case(orientation: Orientation, case: Case) -> Case:
    """The case as it would be stored for ``orientation`` to turn it back."""
    d, h, w = (case.spacing_dhw_mm[axis] for axis in np.argsort(orientation.order))
    return replace(case, image=orientation.back(case.image), spacing_dhw_mm=(d, h, w))
