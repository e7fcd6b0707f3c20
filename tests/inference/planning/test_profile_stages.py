"""manifest.json: its list of stages, each with a layout, and a bank where the family has one."""

from pathlib import Path

import pytest

from tests.inference.planning.test_profile import BANK, Content, manifest, write
from vesal.inference.data.errors import ProfileError
from vesal.inference.geometry.layouts import Fit, Slices, Stretch, Window
from vesal.inference.planning.profile import Profile, read_profile


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return read_profile(write(tmp_path, manifest()))


def test_a_stage_that_there_is_not_is_named(profile: Profile) -> None:
    with pytest.raises(ProfileError, match="made has the stages coarse, fine, not middle"):
        profile.stage("middle")


def test_weights_may_have_no_bank(tmp_path: Path, profile: Profile) -> None:
    """Some families read sentences themselves; one that needs vectors says so."""
    content = manifest()
    del content["bank"], content["files"][BANK]
    without = read_profile(write(tmp_path, content))
    assert without.bank is None and profile.bank_path() == tmp_path / BANK
    with pytest.raises(
        ProfileError, match=r"`\$.bank` is missing; the family nano needs stored text vectors"
    ):
        without.bank_path()


@pytest.mark.parametrize(
    ("layout", "read"),
    [
        ({"kind": "fit", "multiple": 32, "degrees": False}, Fit(32, degrees=False)),
        ({"kind": "fit", "degree_ratios": [2, 4, 8, 16]}, Fit(degree_ratios=(2.0, 4.0, 8.0, 16.0))),
        ({"kind": "window", "window_dhw": [8, 16, 24]}, Window((8, 16, 24))),
        ({"kind": "stretch", "shape_dhw": [8, 16, 24]}, Stretch((8, 16, 24))),
        ({"kind": "slices", "axis": None, "run": 3, "context": 1}, Slices(run=3, context=1)),
    ],
)
def test_each_stage_names_its_layout(tmp_path: Path, layout: Content, read: object) -> None:
    content = manifest()
    content["stages"][1]["layout"] = layout
    coarse, fine = read_profile(write(tmp_path, content)).stages
    assert (coarse.layout, fine.layout) == (Fit(), read)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"degree_ratios": [4, 2]}, "numbers that grow"),
        ({"degree_ratios": [2, 4, 8, 16, 32]}, "cannot be halved so often"),
        ({"degree_ratios": []}, "degree_ratios"),
    ],
)
def test_degrees_that_no_side_can_have_are_refused(tmp_path: Path, changes: Content, why: str) -> None:
    content = manifest()
    content["stages"][1]["layout"] = {"kind": "fit", **changes}
    with pytest.raises(ProfileError, match=why):
        read_profile(write(tmp_path, content))


def test_an_override_may_give_another_layout(tmp_path: Path) -> None:
    content = manifest()
    content["stages"][0]["layout"] = {"kind": "fit", "multiple": 32}
    content["overrides"][0]["stages"] = {"coarse": {"layout": {"kind": "slices"}}, "fine": {"max_windows": 2}}
    profile = read_profile(write(tmp_path, content))
    coarse, fine = profile.rules_for("US", "organ")
    assert (coarse.layout, coarse.threshold, fine.max_windows) == (Slices(), 0.4, 2)
    assert profile.rules_for("CT", "lesion")[0].layout == Fit(32)


def test_one_stage_or_three_are_as_good_as_two(tmp_path: Path) -> None:
    content = manifest() | {"overrides": []}
    content["stages"] = [{"name": "only", "role": "refine", "window_voxels": 5000}]
    profile = read_profile(write(tmp_path, content | {"hybrid": "only"}))
    assert [(rule.name, rule.role) for rule in profile.stages] == [("only", "refine")]
    content["stages"] += [{"name": n, "role": "refine", "window_voxels": 5000} for n in ("finer", "finest")]
    assert len(read_profile(write(tmp_path, content | {"hybrid": "off"})).stages) == 3
