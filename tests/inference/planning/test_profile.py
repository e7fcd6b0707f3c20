"""manifest.json: what a good one says, and a named error for every way in which one can be broken."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.planning.profile import OrientationRule, Profile, StageRule, read_profile

GRAPHS = ("degree0.onnx", "degree1.onnx", "degree2.onnx")
BANK = "bank.npz"

Content = dict[str, Any]


def manifest() -> Content:
    """A whole manifest of files that hold their own names."""
    return {
        "name": "made",
        "family": "volume",
        "licence": "Apache-2.0",
        "source": "fields that only people read are welcome",
        "graphs": {str(d): name for d, name in enumerate(GRAPHS)},
        "bank": BANK,
        "files": {n: {"sha256": hashlib.sha256(n.encode()).hexdigest()} for n in (*GRAPHS, BANK)},
        "coarse": {"window_voxels": 100_000, "threshold": 0.4},
        "fine": {"window_voxels": 200_000, "margin_factor": 1.3, "rounds": 2},
        "overrides": [
            {"modality": "US", "fine": {"skip": True}},
            {"kind": "lesion", "coarse": {"max_windows": 8}},
        ],
        "filters": {"presence_threshold": 0.2, "component_kinds": ["organ", "bone"]},
        "targets": [
            {"concept": "liver", "side": None, "modality": "CT", "dsc": 0.9},
            {"concept": "kidney", "side": "left", "modality": "CT"},
            {"concept": "liver", "side": None, "modality": "MR"},
        ],
    }


def write(folder: Path, content: Content) -> Path:
    """Write a manifest and the files it needs."""
    for name in (*GRAPHS, BANK):
        (folder / name).write_text(name)
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return read_profile(write(tmp_path, manifest()))


def test_a_manifest_becomes_a_profile(profile: Profile, tmp_path: Path) -> None:
    assert (profile.name, profile.family, profile.licence) == ("made", "volume", "Apache-2.0")
    assert profile.graphs == {d: tmp_path / name for d, name in enumerate(GRAPHS)}
    assert profile.bank == tmp_path / BANK
    assert (profile.coarse.window_voxels, profile.coarse.threshold, profile.coarse.overlap) == (
        100_000,
        0.4,
        0.5,
    )
    assert (profile.fine.margin_factor, profile.fine.rounds) == (1.3, 2)
    assert profile.filters.component_kinds == ("organ", "bone")
    assert profile.targets[0].dsc == 0.9 and profile.targets[1].dsc is None


def test_covered_means_concept_side_and_modality(profile: Profile) -> None:
    assert profile.covers("kidney", "left", "CT")
    assert not profile.covers("kidney", "right", "CT")
    assert not profile.covers("kidney", None, "CT")
    assert not profile.covers("kidney", "left", "MR")
    assert profile.modalities_of("liver") == ["CT", "MR"]
    assert profile.modalities_of("spleen") == []


def test_the_first_override_that_fits_counts_and_keeps_the_rest(profile: Profile) -> None:
    """US: no fine stage, other fine values as usual; a lesion elsewhere: 8 coarse windows."""
    coarse, fine = profile.rules_for("US", "lesion")
    assert (coarse, fine.skip, fine.rounds) == (profile.coarse, True, 2)
    coarse, fine = profile.rules_for("CT", "lesion")
    assert (coarse.max_windows, coarse.threshold, fine) == (8, 0.4, profile.fine)
    assert profile.rules_for("CT", "organ") == (profile.coarse, profile.fine)


def test_overrides_and_filters_may_be_absent(tmp_path: Path) -> None:
    content = manifest()
    for key in ("overrides", "filters"):
        del content[key]
    profile = read_profile(write(tmp_path, content))
    assert (profile.overrides, profile.filters.presence_threshold) == ((), 0.0)


@pytest.mark.parametrize(
    "values",
    [{"window_voxels": 4095}, {"max_windows": 0}, {"rounds": 0}, {"overlap": 1.0}, {"overlap": -0.1}],
)
def test_impossible_stages_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="4096 or more are wanted"):
        StageRule(**{"window_voxels": 4096, **values})


def test_no_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="manifest.json cannot be read .*--weights takes a name"):
        read_profile(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "{", "not json", b"\xff\xfe\x00"])
def test_what_is_not_json_is_named(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProfileError, match="is not JSON"):
        read_profile(tmp_path)


@pytest.mark.parametrize("content", [[], None, 3, "text"])
def test_json_of_another_layout_is_named(tmp_path: Path, content: Any) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ProfileError, match="does not describe weights"):
        read_profile(tmp_path)


@pytest.mark.parametrize(
    "key", ["name", "family", "licence", "graphs", "bank", "files", "coarse", "fine", "targets"]
)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    content = manifest()
    del content[key]
    with pytest.raises(ProfileError, match=f"lacks '{key}'; it has "):
        read_profile(write(tmp_path, content))


def _unknown(where: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        place = content[where][0] if isinstance(content[where], list) else content[where]
        place["windos"] = 3

    return change


def test_other_orientations_are_tried_where_a_rule_says_so(tmp_path: Path, profile: Profile) -> None:
    assert profile.orientation is None
    content = manifest() | {"orientation": {"low_confidence": 0.9, "min_gain": 0.05, "min_confidence": 0.75}}
    assert read_profile(write(tmp_path, content)).orientation == OrientationRule(0.9, 0.05, 0.75)


@pytest.mark.parametrize("where", ["coarse", "fine", "filters", "targets", "overrides", "orientation"])
def test_an_unknown_field_is_named(tmp_path: Path, where: str) -> None:
    """A misspelt override would otherwise be a rule that fits every target."""
    content = manifest() | {"orientation": {"low_confidence": 0.9, "min_gain": 0.05, "min_confidence": 0.75}}
    _unknown(where)(content)
    with pytest.raises(ProfileError, match=r"unknown fields \['windos'\]"):
        read_profile(write(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(family="slice"), "family is 'slice', wanted one of"),
        (lambda c: c["graphs"].pop("1"), "lacks '1'"),
        (lambda c: c["coarse"].pop("window_voxels"), "window_voxels"),
        (lambda c: c["coarse"].update(window_voxels="many"), "does not describe weights"),
        (lambda c: c["coarse"].update(window_voxels=10), "4096 or more are wanted"),
        (
            lambda c: c.update(orientation={"low_confidence": 0.9, "min_gain": 0, "min_confidence": 0.75}),
            "min_gain 0, min_confidence 0.75; all",
        ),
        (lambda c: c["files"][BANK].pop("sha256"), "lacks 'sha256'"),
        (lambda c: c["files"].update({BANK: "abc"}), "does not describe weights"),
        (lambda c: c.update(files=[BANK]), "does not describe weights"),
        (lambda c: c.update(overrides=["US"]), "unknown fields"),
        (lambda c: c.update(targets=["liver"]), "unknown fields"),
        (lambda c: c["targets"][0].pop("modality"), "modality"),
        (lambda c: c["files"].pop(BANK), "bank.npz but gives no sha256"),
        (lambda c: c["files"].pop(GRAPHS[1]), "degree1.onnx but gives no sha256"),
    ],
)
def test_every_broken_manifest_is_a_named_error(
    tmp_path: Path, change: Callable[[Content], Any], message: str
) -> None:
    """Some of these came out as KeyError or AttributeError, without the file's name."""
    content = manifest()
    change(content)
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(write(tmp_path, content))
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize("name", [GRAPHS[2], BANK])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, manifest())
    (folder / name).unlink()
    with pytest.raises(ProfileError, match=f"{name} is missing.*Fetch or export"):
        read_profile(folder)


def test_a_changed_file_is_named_unless_digests_are_not_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path, manifest())
    (folder / GRAPHS[0]).write_text("something else")
    with pytest.raises(ProfileError, match=r"degree0.onnx has sha256 .*changed or cut"):
        read_profile(folder)
    assert read_profile(folder, check_digests=False).name == "made"
