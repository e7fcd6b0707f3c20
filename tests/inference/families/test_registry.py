"""A profile that asks for what its family cannot do is refused before a graph is read."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from tests.inference.fake_models import make_profile
from vesal.inference.data.errors import ProfileError
from vesal.inference.families.registry import check_profile, open_model
from vesal.inference.geometry.layouts import Fit, Slices, Window
from vesal.inference.planning.profile import Override, Profile, read_profile
from vesal.inference.planning.rules import StageRule
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.postprocess.components import Components
from vesal.postprocess.edges import Edges
from vesal.postprocess.presence import Presence

RULE = StageRule(32**3, name="fine", role="refine", layout=Fit(32, degrees=False))
"""What a single network without masks, presence and degrees of anisotropy can be asked for."""
GRAPHS = {"encoder": "e.onnx", "embed": "d.onnx"}
ONE: dict[str, Any] = {"graphs": {"fine": GRAPHS}, "network": {"fine": {}}}
TWO: dict[str, Any] = {
    "graphs": {"coarse": GRAPHS, "fine": GRAPHS | {"prompted": "p.onnx"}},
    "network": {"coarse": {}, "fine": {}},
}


def profile(fields: dict[str, Any] = ONE, **changes: Any) -> Profile:
    """A profile of the family ``query``."""
    rules: dict[str, Any] = {"stages": (RULE,), "hybrid": "off"}
    made = replace(make_profile(), family="query", folder=Path("folder"), family_fields=fields)
    return replace(made, **(rules | changes))


def test_what_a_family_can_do_is_told_without_reading_a_graph() -> None:
    can = check_profile(read_profile(WEIGHTS / "nano", check_digests=False))
    assert can.mask and can.presence and can.degrees
    alone, both = check_profile(profile()), check_profile(profile(TWO))
    assert not (alone.mask or alone.presence or alone.degrees) and alone.stages == ()
    assert both.mask and [stage.name for stage in both.stages] == ["coarse", "fine"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stages": (structs.replace(RULE, rounds=2),)},
            "`$.stages[0].rounds` is 2, but the family query takes no spatial prompts",
        ),
        (
            {"stages": (structs.replace(RULE, complementary_block=8),)},
            "`$.stages[0].complementary_block` is 8, but the family query takes no spatial prompts",
        ),
        (
            {"stages": (structs.replace(RULE, mirror_axes=(0, 2)),)},
            "`$.stages[0].mirror_axes` is [0, 2], but the family query takes no mirrored windows",
        ),
        (
            {"stages": (structs.replace(RULE, layout=Fit(32)),)},
            "`$.stages[0].layout.degrees` is True, but the family query has no degrees of anisotropy",
        ),
        ({"hybrid": "fine"}, "`$.hybrid` is 'fine', but the family query takes no masks; `off` is wanted"),
        (
            {"postprocess": (Components(), Presence(threshold=0.5))},
            "`$.postprocess[1]` is 'Presence', but the family query tells no presence",
        ),
        (
            {"postprocess": (Edges(),)},
            "`$.postprocess[0]` is 'Edges', but the family query tells no edges",
        ),
    ],
)
def test_what_a_family_cannot_do_is_refused_with_the_field(changes: dict[str, Any], said: str) -> None:
    for use in (check_profile, lambda used: open_model(used, SimpleNamespace())):
        with pytest.raises(ProfileError) as caught:
            use(profile(**changes))
        assert said in str(caught.value) and "again" in str(caught.value)
        assert str(caught.value).startswith(str(Path("folder", "manifest.json")))


def test_a_stage_without_a_network_is_refused() -> None:
    stages = (RULE, structs.replace(RULE, name="finer"))
    with pytest.raises(ProfileError, match=r"`\$.stages\[1\].name` is 'finer'.* for coarse, fine only"):
        check_profile(profile(TWO, stages=stages))
    assert check_profile(profile(ONE, stages=stages)), "one network serves any stage"


def test_a_layout_without_degrees_fits_every_family() -> None:
    assert check_profile(profile(stages=(structs.replace(RULE, layout=Window((32, 32, 32))),)))


def test_rules_of_some_targets_are_checked_as_those_of_all() -> None:
    """An override that asks for rounds would fail in the middle of a case."""
    override = Override("CT", None, (structs.replace(RULE, rounds=2),))
    with pytest.raises(ProfileError, match=r"`\$.overrides\[0\].stages.fine.rounds` is 2"):
        check_profile(profile(overrides=(override,)))


def test_a_profile_with_everything_is_run_by_a_family_that_can() -> None:
    rule = structs.replace(RULE, rounds=2, complementary_block=8, layout=Fit())
    used = read_profile(WEIGHTS / "nano", check_digests=False)
    rules = (Presence(threshold=0.5),)
    assert check_profile(replace(used, stages=(rule,), postprocess=rules, hybrid="fine"))


@pytest.mark.parametrize(
    ("layout", "at"),
    [
        (Slices(), r"`\$\.stages\[0\]\.layout\.kind` is 'slices'"),
        (Window((30, 30, 30)), r"`\$\.stages\[0\]\.layout\.kind` is 'window'"),
        (Fit(multiple=20), r"`\$\.stages\[0\]\.layout\.multiple` is 20"),
    ],
)
def test_a_layout_that_the_network_cannot_be_run_on_is_refused(layout: Fit, at: str) -> None:
    used = read_profile(WEIGHTS / "nano", check_digests=False)
    rule = structs.replace(used.stages[0], layout=layout)
    with pytest.raises(ProfileError, match=at):
        check_profile(replace(used, stages=(rule,)))


def test_weights_of_nano_need_their_bank() -> None:
    used = read_profile(WEIGHTS / "nano", check_digests=False)
    with pytest.raises(ProfileError, match=r"`\$\.bank` is missing"):
        check_profile(replace(used, bank=None))
