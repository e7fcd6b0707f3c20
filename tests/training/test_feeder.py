"""The thread that prepares views."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume, rule, wait_until_full  # noqa: E402
from vesal.training import feeder as feeding  # noqa: E402
from vesal.training import views  # noqa: E402
from vesal.training.feeder import Feeder, ViewSchedule  # noqa: E402
from vesal.training.store import Volume, with_thickest_slices  # noqa: E402
from vesal.training.views import unpose  # noqa: E402

VOXELS = 2 * 16**3


@pytest.fixture
def volumes(tmp_path: Path) -> list[Volume]:
    """One volume of the trunk and one of the pelvis."""
    pelvis = {"1": "Prostate in CT", "3": "Urinary bladder in CT", "instance_label": 0}
    return [made_volume(tmp_path), made_volume(tmp_path, "CT_Pelvis", prompts=pelvis)]


RULES = {"CT_Made": rule(body=("trunk",)), "CT_Pelvis": rule(body=("pelvis",))}


@pytest.fixture(autouse=True)
def no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets lie wherever the made sets show them."""
    monkeypatch.setattr(feeding.Anatomy, "read", classmethod(lambda cls: cls({}, {})))


@pytest.fixture
def opened(volumes: list[Volume]) -> Iterator[list[Feeder]]:
    """Feeders that are closed at the end; the first is made."""
    feeders = [Feeder(volumes, RULES, VOXELS, VOXELS, seed=0)]
    yield feeders
    for f in feeders:
        f.close()


def test_a_fine_view_follows_with_the_coarse_result_as_its_prompt(
    opened: list[Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "spoil", lambda prompt, rng: prompt)
    feeder = opened[0]
    item = feeder.coarse()
    assert item.stage == "coarse" and not item.prompt.any()
    feeder.give_back(item, np.full((len(item.targets), *item.view.shape), 0.75, np.float32))
    fine = feeder.fine()
    assert fine.stage == "fine" and fine.volume is item.volume
    # 0.75 everywhere is the prompt wherever the coarse view reaches, blended with 0 at a border alone.
    assert float(fine.prompt.max()) == pytest.approx(0.75, abs=1e-3)
    assert float(fine.prompt[fine.truth > 0].median()) == pytest.approx(0.75, abs=1e-3)


def test_many_rounds_end_and_draw_from_every_set(opened: list[Feeder]) -> None:
    feeder = opened[0]
    datasets = set()
    for _ in range(12):
        item = feeder.coarse()
        datasets.add(item.volume.dataset)
        feeder.give_back(item, unpose(item.truth[0], item))
        assert feeder.fine().volume.name == item.volume.name
    assert datasets == {"CT_Made", "CT_Pelvis"}


def test_fine_views_of_a_set_have_as_many_times_the_voxels_as_it_says(
    tmp_path: Path, opened: list[Feeder]
) -> None:
    volume = made_volume(tmp_path)
    for scale in (1.0, 4.0):
        rules = {"CT_Made": replace(RULES["CT_Made"], fine_scale=scale)}
        opened.append(Feeder([volume], rules, VOXELS, VOXELS, seed=0, ideas=views.ALL.without(["thicker"])))
    sizes = []
    for feeder in opened[-2:]:
        items = [feeder.coarse() for _ in range(8)]
        for item in items:
            feeder.give_back(item, unpose(item.truth[0], item))
        fine = [feeder.fine() for _ in items]
        sizes.append([[int(np.prod(each.view.shape)) for each in some] for some in (items, fine)])
    (coarse, small), (same, large) = sizes
    assert coarse == same and sum(large) > 1.5 * sum(small)


@pytest.mark.parametrize("waits", [(), (1, 4)])
def test_the_nth_view_of_a_stage_is_seeded_whenever_it_is_prepared(
    volumes: list[Volume], opened: list[Feeder], waits: tuple[int, ...]
) -> None:
    """Coarse views are prepared ahead, more or fewer of them as the network is slow or fast."""
    opened += [Feeder(volumes, RULES, VOXELS, VOXELS, seed=0), Feeder(volumes, RULES, VOXELS, VOXELS, seed=1)]
    drawn: list[list[views.Item]] = [[], [], []]
    for n in range(6):
        for feeder, items in zip(opened, drawn, strict=True):
            if feeder is opened[1] and n in waits:
                wait_until_full(feeder)
            item = feeder.coarse()
            feeder.give_back(item, unpose(item.truth[0], item))
            items += [item, feeder.fine()]
    first, again, other = drawn
    assert [i.view for i in first] == [i.view for i in again] != [i.view for i in other]
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a.prompt, b.prompt) for a, b in zip(first, again, strict=True))


def test_a_run_that_goes_on_draws_the_views_that_follow(volumes: list[Volume], opened: list[Feeder]) -> None:
    opened.append(Feeder(volumes, RULES, VOXELS, VOXELS, seed=0, first=2))
    begun, later = ([f.coarse() for _ in range(4)] for f in opened)
    assert [i.view for i in begun[2:]] == [i.view for i in later[:2]] and begun[0].view != begun[1].view


def test_processes_draw_views_of_their_own(volumes: list[Volume], opened: list[Feeder]) -> None:
    """And other runs neither draw theirs."""
    others = [(0, 1), (1, 0), (1, 1)]
    opened += [Feeder(volumes, RULES, VOXELS, VOXELS, seed, rank) for seed, rank in others]
    assert len({str([f.coarse().view for _ in range(3)]) for f in opened}) == 4


def test_a_set_of_weight_0_is_not_drawn(volumes: list[Volume], opened: list[Feeder]) -> None:
    rules = RULES | {"CT_Pelvis": rule(weight=0.0, body=("pelvis",))}
    opened.append(Feeder(volumes, rules, VOXELS, VOXELS, seed=0))
    assert {opened[-1].coarse().volume.dataset for _ in range(10)} == {"CT_Made"}


def test_absent_targets_come_from_another_part_of_the_body(
    volumes: list[Volume], opened: list[Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "NEGATIVE", 1.0)
    opened.append(Feeder(volumes, RULES, VOXELS, VOXELS, seed=0))
    own = {"CT_Made": {"liver", "spleen"}, "CT_Pelvis": {"prostate", "urinary bladder"}}
    for _ in range(8):
        item = opened[-1].coarse()
        absent = [t for t in item.targets if t.label == 0]
        assert len({t.concept for t in absent}) == 2, "both targets of the other set"
        for target in absent:
            assert target.modality == "CT" and target.concept not in own[item.volume.dataset]
            assert not item.truth[0, item.targets.index(target)].any()


@pytest.mark.parametrize("body", [("any",), ("trunk",), ("trunk", "pelvis")])
def test_nothing_is_called_absent_that_may_be_in_view(
    volumes: list[Volume], opened: list[Feeder], monkeypatch: pytest.MonkeyPatch, body: tuple[str, ...]
) -> None:
    """An organ that is not labelled may be there all the same."""
    monkeypatch.setattr(feeding, "NEGATIVE", 1.0)
    rules = RULES | {"CT_Pelvis": rule(body=body)}
    opened.append(Feeder(volumes, rules, VOXELS, VOXELS, seed=0))
    assert all(t.label > 0 for _ in range(8) for t in opened[-1].coarse().targets)


def test_a_target_is_absent_from_a_set_that_shares_no_part_with_the_target_itself(
    volumes: list[Volume], opened: list[Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sets show the neck; the prostate lies in the pelvis, and the bladder is left where its set is."""
    monkeypatch.setattr(feeding, "NEGATIVE", 1.0)
    parts = {"prostate": frozenset({"pelvis"}), "liver": frozenset({"neck"}), "spleen": frozenset({"neck"})}
    monkeypatch.setattr(feeding.Anatomy, "read", classmethod(lambda cls: cls({}, parts)))
    rules = {"CT_Made": rule(body=("neck",)), "CT_Pelvis": rule(body=("neck", "pelvis"))}
    opened.append(Feeder(volumes, rules, VOXELS, VOXELS, seed=0))
    items = [opened[-1].coarse() for _ in range(12)]
    absent = [(i.volume.dataset, t.concept) for i in items for t in i.targets if t.label == 0]
    assert set(absent) == {("CT_Made", "prostate")}


def test_other_names_are_asked_for_half_of_the_time(
    volumes: list[Volume], opened: list[Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "NEGATIVE", 0.0)
    rules = RULES | {"CT_Made": rule(also=("lesion",))}
    whole = views.ALL.without(["cut"])
    opened.append(Feeder(volumes[:1], rules, VOXELS, VOXELS, seed=0, ideas=whole))
    drawn = [tuple(t.concept for t in opened[-1].coarse().targets) for _ in range(24)]
    assert set(drawn) == {("liver", "spleen"), ("lesion", "lesion")}
    assert 4 <= drawn.count(("lesion", "lesion")) <= 20


def test_a_failure_of_the_thread_reaches_who_waits(
    volumes: list[Volume], opened: list[Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no room for a view")

    monkeypatch.setattr(feeding, "coarse_item", broken)
    opened.append(Feeder(volumes, RULES, VOXELS, VOXELS, seed=0))
    with pytest.raises(RuntimeError, match="prepares views failed") as caught:
        opened[-1].coarse()
    assert isinstance(caught.value.__cause__, MemoryError)
    with pytest.raises(RuntimeError, match="prepares views failed"):
        opened[-1].fine()


def test_processes_of_a_run_look_at_views_of_one_kind_together(tmp_path: Path, opened: list[Feeder]) -> None:
    volumes = [
        made_volume(tmp_path),
        made_volume(tmp_path, "CT_Pelvis", spacing_xyz=(1.0, 1.0, 9.0)),
    ]
    opened += [Feeder(volumes, RULES, VOXELS, VOXELS, seed=3, rank=rank) for rank in (0, 1)]
    drawn = [[f.coarse().volume.dataset for _ in range(12)] for f in opened[-2:]]
    assert drawn[0] == drawn[1]  # here the only set of its kind, so the set itself
    assert set(drawn[0]) == {"CT_Made", "CT_Pelvis"}


def test_processes_show_thicker_slices_in_the_same_steps(tmp_path: Path, opened: list[Feeder]) -> None:
    volume = made_volume(tmp_path)
    rules = {"CT_Made": RULES["CT_Made"]}
    whole = views.ALL.without(["cut"])  # of a part too few slices may be left
    opened += [Feeder([volume], rules, VOXELS, VOXELS, seed=0, rank=r, ideas=whole) for r in (0, 1)]
    drawn = [[f.coarse().volume.spacing_dhw_mm[0] for _ in range(24)] for f in opened[-2:]]
    thicker = [[s > volume.spacing_dhw_mm[0] for s in spacings] for spacings in drawn]
    assert thicker[0] == thicker[1] and 1 <= sum(thicker[0]) <= 12
    plain = Feeder([volume], rules, VOXELS, VOXELS, seed=0, ideas=whole.without(["thicker"]))
    opened.append(plain)
    assert {plain.coarse().volume.spacing_dhw_mm for _ in range(24)} == {volume.spacing_dhw_mm}


def test_sets_that_tell_the_usual_thickness_of_slices_are_shown_so(
    tmp_path: Path, opened: list[Feeder]
) -> None:
    volume = made_volume(tmp_path)
    rules = {"CT_Made": replace(RULES["CT_Made"], usual_mm=(2.0, 2.5))}
    ideas = views.ALL.without(["cut"])
    opened.append(Feeder([volume], rules, VOXELS, VOXELS, seed=0, ideas=ideas))
    shown = [opened[-1].coarse().volume.spacing_dhw_mm[0] for _ in range(48)]
    assert 12 <= sum(mm == 2 * volume.spacing_dhw_mm[0] for mm in shown) <= 36
    opened.append(Feeder([volume], rules, VOXELS, VOXELS, seed=0, ideas=ideas.without(["thicker"])))
    assert {opened[-1].coarse().volume.spacing_dhw_mm for _ in range(24)} == {volume.spacing_dhw_mm}


def test_processes_show_parts_of_volumes_in_the_same_steps(tmp_path: Path, opened: list[Feeder]) -> None:
    volume = made_volume(tmp_path)
    rules = {"CT_Made": RULES["CT_Made"]}
    opened += [Feeder([volume], rules, VOXELS, VOXELS, seed=0, rank=rank) for rank in (0, 1)]
    for each in opened[-2:]:  # their threads draw no more, so both begin anew
        each.close()
        each._next["coarse"] = 0
    drawn = [[f._draws("coarse").cut for _ in range(48)] for f in opened[-2:]]
    assert drawn[0] == drawn[1] and 1 <= sum(drawn[0]) <= 16
    ideas = views.ALL.without(["cut", "thicker"])
    opened.append(Feeder([volume], rules, VOXELS, VOXELS, seed=0, ideas=ideas))
    assert {opened[-1].coarse().volume.image.shape for _ in range(24)} == {volume.image.shape}


def test_views_have_no_thicker_slices_than_all_their_targets_were_scanned_in(
    tmp_path: Path, opened: list[Feeder]
) -> None:
    """As at run time: a volume that is shown thicker is interpolated to that."""
    thin, thick = made_volume(tmp_path), made_volume(tmp_path, "CT_Pelvis", spacing_xyz=(1.0, 1.0, 2.0))
    both = with_thickest_slices([thin, replace(thick, targets=thick.targets[:1])])
    assert [v.thickest_slice_mm for v in both] == [1.0, 2.0]
    ideas = views.ALL.without(["elastic"])
    opened.append(Feeder([thin], {"CT_Made": RULES["CT_Made"]}, VOXELS, VOXELS, seed=0, ideas=ideas))
    shown = [opened[-1].coarse() for _ in range(24)]
    thickened = [item for item in shown if item.volume.spacing_dhw_mm[0] > 1.0]
    assert thickened and all(item.view.degree == 0 for item in thickened)


def test_views_are_as_large_as_the_pace_says(volumes: list[Volume], opened: list[Feeder]) -> None:
    opened.append(
        Feeder(
            volumes,
            RULES,
            VOXELS,
            VOXELS,
            seed=0,
            # Few thick slices make sides that are rounded up to twice as many voxels in views this small.
            ideas=views.ALL.without(["thicker"]),
            schedule=lambda n: ViewSchedule(scale=1.0 if n < 8 else 8.0),
        )
    )
    sizes = [np.prod(opened[-1].coarse().view.shape) for _ in range(16)]
    assert min(sizes[8:]) > max(sizes[:8])


def test_plain_views_are_not_augmented(volumes: list[Volume], opened: list[Feeder]) -> None:
    rules = {name: rule(body=r.body, flips="any", turn_rad=0.5) for name, r in RULES.items()}
    feeder = Feeder(
        volumes, rules, VOXELS, VOXELS, seed=0, schedule=lambda n: ViewSchedule(plain=float(n >= 12))
    )
    opened.append(feeder)

    def augmented(item: views.Item) -> bool:
        return bool(item.flips) or item.turned[1] != 0 or item.knots is not None

    seen = []
    for _ in range(18):
        item = feeder.coarse()
        feeder.give_back(item, unpose(item.truth[0], item))
        seen.append((augmented(item), augmented(feeder.fine())))
    assert sum(any(pair) for pair in seen[:12]) > 6 and not any(any(pair) for pair in seen[12:])
