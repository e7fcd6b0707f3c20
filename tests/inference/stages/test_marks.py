"""Boxes and points for networks with spatial prompts: what reaches the network, and what is kept."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import (
    BANK,
    Bright,
    Constant,
    Saved,
    dice,
    made_image,
    make_case,
    make_profile,
    make_prompt,
)
from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import BOXES, POINTS, Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.engine import Engine
from vesal.inference.families.contract import Capabilities
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.marked_components import Grid, Others, chosen
from vesal.inference.stages.marks import others_of
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock

SHAPE = (32, 32, 32)
ONE, TWO = (slice(4, 12),) * 3, (slice(18, 28),) * 3
IMAGE = made_image(SHAPE, (ONE, 200), (TWO, 200))
LIVER = make_prompt(1, "liver")
BOX_ONE, BOX_TWO = VoxelBox((4, 4, 4), (12, 12, 12)), VoxelBox((18, 18, 18), (28, 28, 28))
IN_ONE, IN_TWO = (8, 8, 8), (23, 23, 23)


class Faint:
    """Finds liver with a probability below one half; a spatial prompt makes it sure."""

    def __init__(self) -> None:
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(inputs)
        bright = np.abs(inputs["image"][:, :1] * 127.5 + 127.5 - 200) < 20
        probability = np.where(bright & (inputs["prompt"] > 0.5), 0.9, 0).astype(np.float32)
        return {"probability": probability, "presence": np.ones(probability.shape[:3], np.float32)}


def segment(
    graph: Any,
    user: UserPrompts,
    prompts: Any = (LIVER,),
    instance: bool = False,
    image: np.ndarray = IMAGE,
    **rules: Any,
) -> Segmentation:
    profile = make_profile(**rules)
    engine = Engine(
        profile, SimpleNamespace(name="fake"), NanoModel({0: graph, 1: graph, 2: graph}, BANK, profile)
    )
    case = replace(make_case(image, prompts, instance=instance), user=user)
    return engine.segment(case, prompts, Clock(600.0, 0.0, lambda: 0.0), Saved())


def points(*marks: tuple[tuple[int, int, int], bool]) -> UserPrompts:
    return UserPrompts(points={1: tuple(Point(*mark) for mark in marks)})


def found(result: Segmentation) -> tuple[float, float]:
    """Which share of either cube is labelled."""
    return float((result.labels[ONE] > 0).mean()), float((result.labels[TWO] > 0).mean())


def test_a_family_with_spatial_prompts_gets_boxes_and_points_drawn() -> None:
    assert Capabilities(mask=True).user_prompts() == ("mask", "boxes", "points")
    assert Capabilities(mask=True).draws() == (BOXES, POINTS)
    assert Capabilities(boxes=True).user_prompts() == ("boxes",) and not Capabilities(boxes=True).draws()
    assert Capabilities(mask=True, boxes=True, points=True).draws() == ()
    assert Capabilities(mask=True, boxes=True, points=True, drawn=(POINTS,)).draws() == (POINTS,)


@pytest.mark.parametrize(
    ("user", "shares"),
    [
        (UserPrompts(), (1, 1)),
        (UserPrompts(boxes={1: (BOX_ONE,)}), (1, 0)),
        (UserPrompts(boxes={1: (BOX_TWO,)}), (0, 1)),
        (UserPrompts(boxes={1: (BOX_ONE, BOX_TWO)}), (1, 1)),
        (points((IN_ONE, True)), (1, 0)),
        (points((IN_TWO, False)), (1, 0)),
        (points((IN_ONE, True), (IN_TWO, True)), (1, 1)),
        (points(((10, 10, 13), True)), (1, 0)),  # beside the first: the nearest
        (points((IN_ONE, True), (IN_ONE, True), (IN_TWO, False)), (1, 0)),  # repeated clicks
        (UserPrompts(boxes={1: (BOX_ONE,)}, points=points((IN_TWO, False)).points), (1, 0)),
        (UserPrompts(boxes={2: (BOX_ONE,)}), (1, 1)),  # of another prompt
    ],
)  # fmt: skip
def test_boxes_and_points_choose(user: UserPrompts, shares: tuple[float, float]) -> None:
    assert found(segment(Bright(), user)) == shares


def test_without_any_nothing_is_different() -> None:
    plain, given = Bright(), Bright()
    other = UserPrompts(boxes={2: (BOX_ONE,)})
    a, b = segment(plain, UserPrompts()), segment(given, other)
    assert np.array_equal(a.labels, b.labels) and len(plain.calls) == len(given.calls)
    for one, two in zip(plain.calls, given.calls, strict=True):
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_a_box_in_which_nothing_was_found_is_filled_as_spatial_prompt() -> None:
    graph = Faint()
    assert found(segment(graph, UserPrompts())) == (0, 0)
    graph = Faint()
    result = segment(graph, UserPrompts(boxes={1: (BOX_TWO,)}))
    prompt = graph.calls[-1]["prompt"]
    assert not graph.calls[0]["prompt"].any() and 0.05 < prompt.mean() < 0.6
    assert found(result)[0] == 0 and found(result)[1] > 0.4
    assert "guided by the user's boxes, 1 boxes filled" in result.stages[0].why
    assert result.stages[-1].grid == (16, 16, 16)  # the region is the box's


def test_a_click_on_nothing_is_a_small_spatial_prompt() -> None:
    result = segment(Faint(), points((IN_TWO, True)))
    assert found(result)[0] == 0 and found(result)[1] > 0.05


def test_where_no_stage_came_before_the_boxes_are_the_spatial_prompt() -> None:
    graph = Faint()
    result = segment(graph, UserPrompts(boxes={1: (BOX_TWO,)}), coarse=StageRule(32**3, skip=True))
    assert len(graph.calls) == 1 and graph.calls[0]["prompt"].any() and found(result)[1] > 0.4


def test_presence_does_not_empty_slices_of_a_box() -> None:
    from vesal.postprocess.presence import Presence

    rule = (Presence(threshold=0.5),)
    assert not segment(Constant(0.9, 0.1), UserPrompts(), postprocess=rule).labels.any()
    result = segment(Constant(0.9, 0.1), UserPrompts(boxes={1: (BOX_TWO,)}), postprocess=rule)
    assert result.labels[TWO].all() and not result.labels[ONE].any()


def test_a_background_point_in_the_component_of_a_foreground_one_goes_with_what_is_around_it() -> None:
    result = segment(Bright(), points(((23, 23, 19), True), ((23, 23, 26), False)))
    assert result.labels[23, 23, 19] and not result.labels[23, 23, 26] and not result.labels[ONE].any()


def test_a_box_of_one_slice_does_not_cut_in_the_plane() -> None:
    narrow = VoxelBox((18, 21, 21), (28, 25, 25))
    assert found(segment(Bright(), UserPrompts(boxes={1: (narrow,)})))[1] < 0.7
    assert found(segment(Bright(), UserPrompts(boxes={1: (replace(narrow, open_axes=(1, 2)),)}))) == (0, 1)
    assert replace(narrow, open_axes=(1, 2)).transposed((1, 0, 2)).open_axes == (0, 2)


def test_mask_box_and_point_together() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[ONE] = labels[TWO] = 1
    user = UserPrompts(UserMask(labels, (1,), "here"), {1: (BOX_TWO,)}, points((IN_TWO, True)).points)
    assert found(segment(Faint(), user)) == (0, 1)


@pytest.mark.parametrize("kind", ["box", "point"])
def test_of_objects_those_that_are_marked_stay(kind: str) -> None:
    user = UserPrompts(boxes={1: (BOX_ONE,)}) if kind == "box" else points((IN_ONE, True))
    result = segment(Bright(), user, instance=True)
    assert set(np.unique(result.labels)) == {0, 1} and found(result) == (1, 0)


def test_of_both_sides_of_a_pair_the_marked_one_stays() -> None:
    both = replace(make_prompt(1, "kidney"), text="kidneys")
    left, right = (slice(4, 12), slice(4, 12), slice(2, 10)), (slice(4, 12), slice(4, 12), slice(20, 28))
    image = made_image(SHAPE, (left, 160), (right, 160))
    profile = make_profile()
    engine = Engine(
        profile, SimpleNamespace(name="fake"), NanoModel({i: Bright() for i in range(3)}, BANK, profile)
    )
    user = UserPrompts(points={1: (Point((8, 8, 24), True),)})
    case = replace(make_case(image, [both]), user=user)
    result = engine.segment(case, [both], Clock(600.0, 0.0, lambda: 0.0), Saved())
    truth = np.zeros(SHAPE, bool)
    truth[right] = True
    assert dice(result.labels == 1, truth) > 0.95


GRID = Grid((16, 16, 32), (1.0, 1.0, 1.0))
ORGAN = (slice(3, 13), slice(3, 13), slice(3, 13))
BULGE = (slice(6, 10), slice(6, 10), slice(13, 17))
"""What was found too much of it."""
APART = (slice(4, 9), slice(4, 9), slice(22, 27))


def kept_with(outside: tuple[int, int, int], inside: Any = (), boxes: Any = (), other: Any = None) -> Any:
    """Shares of organ, bulge and, if there is one, another part that points keep."""
    probability = np.zeros(GRID.shape, np.float32)
    probability[ORGAN], probability[BULGE] = 0.9, 0.7
    if other is not None:
        probability[other] = 0.9
    keep, _ = chosen(probability, 0.5, GRID, inside, [outside], boxes)
    kept = keep & (probability > 0.5)
    return [float(kept[part].mean()) for part in (ORGAN, BULGE, *([] if other is None else [other]))]


HELD = {"alone": {}, "point": {"inside": [(8, 8, 8)]}, "box": {"boxes": [ORGAN]}}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_a_background_point_corrects_around_itself(held: dict[str, Any]) -> None:
    organ, bulge = kept_with((8, 8, 15), **held)
    assert organ > 0.97 and bulge < 0.3


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_a_background_point_near_the_border_takes_little(held: dict[str, Any]) -> None:
    organ, bulge = kept_with((8, 3, 8), **held)
    assert 0.95 < organ < 1 and bulge == 1


def test_of_several_components_the_one_with_a_background_point_goes() -> None:
    assert kept_with((6, 6, 24), other=APART) == [1, 1, 0]
    assert kept_with((8, 8, 15), other=APART) == [0, 0, 1]
    # The box holds the organ, the other part lies in it as well.
    whole = (slice(0, 16), slice(0, 16), slice(0, 32))
    assert kept_with((6, 6, 24), boxes=[whole], other=APART) == [1, 1, 0]
    organ, _, other = kept_with((8, 8, 15), boxes=[whole], other=APART)
    assert organ > 0.97 and other == 1


def test_a_speck_does_not_stand_in_for_what_a_background_point_is_in() -> None:
    organ, bulge, _ = kept_with((8, 8, 15), other=(slice(5, 7), slice(5, 7), slice(25, 27)))
    assert organ > 0.97 and bulge < 0.3


def test_a_background_point_in_what_a_foreground_point_raised() -> None:
    probability = np.zeros(GRID.shape, np.float32)
    probability[ORGAN] = 0.3
    keep, raised = chosen(probability, 0.5, GRID, [(8, 8, 4)], [(8, 8, 11)])
    assert raised[8, 8, 4] and 0.5 < raised[ORGAN].mean() < 1 and not raised[8, 8, 11]


def test_a_background_point_leaves_most_of_a_ring_whose_box_is_marked() -> None:
    """The middle of its box lies in the hole."""
    h, w = np.mgrid[:31, :31]
    radius = np.hypot(h - 15, w - 15)
    ring = np.broadcast_to((radius > 8) & (radius < 13), (5, 31, 31))
    grid = Grid(ring.shape, (1.0, 1.0, 1.0))
    box = (slice(0, 5), slice(2, 29), slice(2, 29))
    keep, _ = chosen(ring.astype(np.float32), 0.5, grid, [], [(2, 15, 26)], [box])
    kept = ring & keep
    assert not kept[2, 15, 26] and kept.sum() > 0.9 * ring.sum()


def test_a_foreground_point_beside_what_was_found_adds_what_was_missed() -> None:
    probability = np.full(GRID.shape, 0.02, np.float32)
    probability[ORGAN], probability[BULGE] = 0.9, 0.3
    keep, raised = chosen(probability, 0.5, GRID, [(8, 8, 15)], [])
    assert raised[BULGE].mean() > 0.9 and raised.sum() == raised[BULGE].sum() and keep[ORGAN].all()
    _, halved = chosen(probability, 0.5, GRID, [(8, 8, 14)], [(8, 8, 16)])
    assert halved[8, 8, 14] and not halved[8, 8, 16]
    # Where the network has next to nothing it is a small ball, however far that is.
    _, far = chosen(probability, 0.5, GRID, [(8, 8, 30)], [])
    assert 0 < far.sum() < 400


LINE = Grid((40, 9, 9), (1.0, 1.0, 1.0))
PIECES = [(slice(0, 12), slice(3, 6), slice(3, 6)), (slice(14, 26), slice(3, 6), slice(3, 6))]
FAR = (slice(37, 40), slice(0, 3), slice(0, 3))


@pytest.mark.parametrize(
    ("others", "stay"),
    [
        (Others.NONE, (1, 0, 0)),
        (Others.JOINED, (1, 1, 0)),
        (Others.LARGE, (1, 1, 1)),
        (Others.ALL, (1, 1, 1)),
    ],
)
def test_pieces_of_one_thing_stay_with_the_clicked_one(others: Others, stay: tuple[int, ...]) -> None:
    probability = np.zeros(LINE.shape, np.float32)
    for part in (*PIECES, FAR):
        probability[part] = 1
    keep, _ = chosen(probability, 0.5, LINE, [(4, 4, 4)], [], others=others)
    assert tuple(keep[part].mean() for part in (*PIECES, FAR)) == stay
    speck = np.zeros(LINE.shape, np.float32)
    speck[PIECES[0]] = speck[39, 8, 8] = 1
    keep, _ = chosen(speck, 0.5, LINE, [(4, 4, 4)], [], others=others)
    assert keep[39, 8, 8] == (others is Others.ALL)


@pytest.mark.parametrize(
    ("name", "kind", "goes_on", "others"),
    [
        ("spinal cord", "structure", True, Others.ALL),
        ("spinal cord", "structure", False, Others.JOINED),
        ("caudate nucleus", "structure", False, Others.LARGE),
        ("sarcoma", "lesion", True, Others.NONE),
        ("cell nucleus", "cell", False, Others.NONE),
        (None, "", False, Others.NONE),
    ],
)
def test_what_stays_beside_a_clicked_component(
    name: str | None, kind: str, goes_on: bool, others: Others
) -> None:
    query = Query(1, name or "class 1", name, None, "CT", kind)
    assert others_of([query], goes_on) is others
    assert others_of([query, query], goes_on) is Others.NONE  # two targets, of which one is clicked
    if name == "caudate nucleus":
        assert others_of([replace(query, side="left")], goes_on) is Others.JOINED


class InPieces(Bright):
    """Finds a thin organ whole only with a spatial prompt."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        out = super().__call__(inputs)
        if not inputs["prompt"].any():
            d = out["probability"].shape[2]
            out["probability"][:, :, d // 3 : d // 2] = 0
        return out


def test_a_click_on_one_piece_of_a_coarse_result_keeps_the_whole_organ() -> None:
    rod = (slice(1, 31), slice(12, 20), slice(12, 20))
    result = segment(InPieces(), points(((26, 16, 16), True)), image=made_image(SHAPE, (rod, 200)))
    assert (result.labels[rod] == 1).mean() > 0.95


def test_clicks_beside_a_mask_keep_all_that_it_holds() -> None:
    """They correct the last result: a missed part is clicked, and the rest is still meant."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[ONE] = labels[TWO] = 1
    lesion = make_prompt(1, "liver", kind="lesion")
    user = UserPrompts(UserMask(labels, (1,), "here"), points=points((IN_TWO, True)).points)
    assert found(segment(Bright(), user, prompts=(lesion,))) == (1, 1)
    assert found(segment(Bright(), points((IN_TWO, True)), prompts=(lesion,))) == (0, 1)
