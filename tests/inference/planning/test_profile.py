"""manifest.json: what a good one says, and a named error for every way in which one can be broken."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.registry import open_model
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.planning.rules import OrientationRule

GRAPHS = ("degree0.onnx", "degree1.onnx", "degree2.onnx")
BANK = "bank.npz"

Content = dict[str, Any]


def manifest() -> Content:
    """A whole manifest of files that hold their own names."""
    return {
        "name": "made",
        "family": "nano",
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


def refusal(folder: Path, content: Any) -> str:
    """What is said of a manifest that is refused."""
    with pytest.raises(ProfileError) as caught:
        read_profile(write(folder, content))
    return str(caught.value)


def test_a_manifest_becomes_a_profile(profile: Profile, tmp_path: Path) -> None:
    assert (profile.name, profile.family, profile.licence) == ("made", "nano", "Apache-2.0")
    assert profile.family_fields == {"graphs": {str(d): name for d, name in enumerate(GRAPHS)}}
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
    ("values", "said"),
    [
        ({"window_voxels": 4095}, "Expected `int` >= 4096 - at `$.coarse.window_voxels`, which is 4095"),
        ({"max_windows": 0}, "Expected `int` >= 1 - at `$.coarse.max_windows`, which is 0"),
        ({"rounds": 0}, "Expected `int` >= 1 - at `$.coarse.rounds`, which is 0"),
        ({"overlap": 1.0}, "Expected `float` < 1.0 - at `$.coarse.overlap`, which is 1.0"),
        ({"overlap": -0.1}, "Expected `float` >= 0.0 - at `$.coarse.overlap`, which is -0.1"),
        ({"low_threshold": 0}, "Expected `float` > 0.0 - at `$.coarse.low_threshold`, which is 0"),
        ({"low_threshold": 0.6}, "Expected `float` <= 0.5 - at `$.coarse.low_threshold`, which is 0.6"),
        ({"max_targets_per_view": 0}, "Expected `int` >= 1 - at `$.coarse.max_targets_per_view`"),
        ({"max_spacing_ratio": 0.5}, "Expected `float` >= 1.0 - at `$.coarse.max_spacing_ratio`"),
        ({"margin_factor": 0}, "Expected `float` > 0.0 - at `$.coarse.margin_factor`"),
        ({"complementary_block": -8}, "Expected `int` >= 0 - at `$.coarse.complementary_block`"),
        ({"layout": None}, "unknown field `layout` - at `$.coarse`"),
    ],
)
def test_impossible_stages_are_refused(tmp_path: Path, values: Content, said: str) -> None:
    content = manifest()
    content["coarse"] |= values
    assert said in refusal(tmp_path, content)


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
    said = refusal(tmp_path, content)
    assert "does not describe weights: Expected `object`, got" in said and "at `$`, which is" in said


@pytest.mark.parametrize(
    "key", ["name", "family", "licence", "graphs", "bank", "files", "coarse", "fine", "targets"]
)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    content = manifest()
    del content[key]
    assert f"missing required field `{key}` - at `$`" in refusal(tmp_path, content)


ORIENTATION = {"low_confidence": 0.9, "min_gain": 0.05, "min_confidence": 0.75}


def test_other_orientations_are_tried_where_a_rule_says_so(tmp_path: Path, profile: Profile) -> None:
    assert profile.orientation is None
    read = read_profile(write(tmp_path, manifest() | {"orientation": ORIENTATION}))
    assert read.orientation == OrientationRule(0.9, 0.05, 0.75)


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("coarse", "$.coarse"),
        ("fine", "$.fine"),
        ("filters", "$.filters"),
        ("targets", "$.targets[0]"),
        ("overrides", "$.overrides[0]"),
        ("orientation", "$.orientation"),
        ("not_covered", "$.not_covered[0]"),
    ],
)
def test_an_unknown_field_is_named(tmp_path: Path, where: str, place: str) -> None:
    """A misspelt override would otherwise be a rule that fits every target."""
    content = manifest() | {"orientation": dict(ORIENTATION), "not_covered": manifest()["targets"]}
    object_ = content[where][0] if isinstance(content[where], list) else content[where]
    object_["windos"] = 3
    assert f"unknown field `windos` - at `{place}`, which is {{" in refusal(tmp_path, content)


def test_an_unknown_field_of_the_whole_is_named_when_the_model_is_opened(tmp_path: Path) -> None:
    """It might have been the family's own."""
    profile = read_profile(write(tmp_path, manifest() | {"overides": []}))
    with pytest.raises(ProfileError, match=r"manifest.json does not .* unknown field `overides` - at `\$`"):
        open_model(profile, SimpleNamespace())


@pytest.mark.parametrize("family", ["slice", "volume", "Nano"])
def test_a_family_that_there_is_not_is_named(tmp_path: Path, family: str) -> None:
    profile = read_profile(write(tmp_path, manifest() | {"family": family}))
    said = rf"manifest.json .*Expected one of nano, query - at `\$.family`, which is '{family}'"
    with pytest.raises(ProfileError, match=said):
        open_model(profile, SimpleNamespace())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # A word, a truth value and a number where something else is wanted.
        (
            lambda c: c["coarse"].update(window_voxels="many"),
            "Expected `int`, got `str` - at `$.coarse.window_voxels`, which is 'many'",
        ),
        (
            lambda c: c["fine"].update(overlap=True),
            "Expected `float`, got `bool` - at `$.fine.overlap`, which is True",
        ),
        (lambda c: c["fine"].update(skip=1), "Expected `bool`, got `int` - at `$.fine.skip`, which is 1"),
        (
            lambda c: c["coarse"].update(max_windows=2.5),
            "Expected `int`, got `float` - at `$.coarse.max_windows`, which is 2.5",
        ),
        # A list where a string is wanted, and the other way round.
        (lambda c: c.update(bank=[BANK]), "Expected `str`, got `array` - at `$.bank`, which is ['bank.npz']"),
        (
            lambda c: c["targets"][1].update(concept=["kidney"]),
            "Expected `str`, got `array` - at `$.targets[1].concept`, which is ['kidney']",
        ),
        (
            lambda c: c["filters"].update(component_kinds="organ"),
            "Expected `array`, got `str` - at `$.filters.component_kinds`, which is 'organ'",
        ),
        # Targets: without modality, with one that there is not, with a Dice above 1.
        (lambda c: c["targets"][0].pop("modality"), "missing required field `modality` - at `$.targets[0]`"),
        (
            lambda c: c["targets"][2].update(modality="MRI"),
            "matching regex '^(CT|MR|US|PET|Microscopy)$' - at `$.targets[2].modality`, which is 'MRI'",
        ),
        (lambda c: c["targets"][1].update(side="both"), "'^(left|right)$' - at `$.targets[1].side`"),
        (lambda c: c["targets"][0].update(dsc=90), "Expected `float` <= 1.0 - at `$.targets[0].dsc`"),
        (lambda c: c.update(targets=["liver"]), "Expected `object`, got `str` - at `$.targets[0]`"),
        # Graphs and files.
        (lambda c: c.update(graphs=list(GRAPHS)), "Expected `object`, got `array` - at `$.graphs`"),
        (lambda c: c["graphs"].update({"1": 3}), "Expected `str | object`, got `int` - at `$.graphs[...]`"),
        (lambda c: c.update(files=[BANK]), "Expected `object`, got `array` - at `$.files`"),
        (lambda c: c["files"].update({BANK: "abc"}), "Expected `object`, got `str` - at `$.files[...]`"),
        (lambda c: c["files"][BANK].pop("sha256"), "missing required field `sha256` - at `$.files[...]`"),
        (lambda c: c["files"][BANK].update(sha256="abc"), "'^[0-9a-f]{64}$' - at `$.files[...].sha256`"),
        (lambda c: c["files"].pop(BANK), "bank.npz but gives no sha256"),
        (lambda c: c["files"].pop(GRAPHS[1]), "degree1.onnx but gives no sha256"),
        # Overrides are checked as whole rules, at their own place.
        (lambda c: c.update(overrides=["US"]), "Expected `object`, got `str` - at `$.overrides[0]`"),
        (lambda c: c["overrides"][0].update(fine=[]), "got `array` - at `$.overrides[0].fine`"),
        (
            lambda c: c["overrides"][1]["coarse"].update(max_windows="8"),
            "Expected `int`, got `str` - at `$.overrides[1].coarse.max_windows`, which is '8'",
        ),
        (
            lambda c: c["overrides"][0]["fine"].update(grow=1.3),
            "unknown field `grow` - at `$.overrides[0].fine`",
        ),
        # The rest.
        (
            lambda c: c["coarse"].pop("window_voxels"),
            "required field `window_voxels` - at `$.coarse`",
        ),
        (lambda c: c.update(coarse=None), "Expected `object`, got `null` - at `$.coarse`, which is None"),
        (lambda c: c.update(hybrid="both"), "'^(coarse|fine|off)$' - at `$.hybrid`, which is 'both'"),
        (
            lambda c: c.update(orientation=ORIENTATION | {"min_gain": 0}),
            "Expected `float` > 0.0 - at `$.orientation.min_gain`, which is 0",
        ),
        (lambda c: c["filters"].update(min_object_voxels=0), "`int` >= 1 - at `$.filters.min_object_voxels`"),
        (lambda c: c["filters"].update(component_ids=[1]), "unknown field `component_ids` - at `$.filters`"),
    ],
)
def test_every_broken_manifest_is_a_named_error(
    tmp_path: Path, change: Callable[[Content], Any], said: str
) -> None:
    """Six such went through when names alone were checked; others came out as KeyError, without the file."""
    content = manifest()
    change(content)
    message = refusal(tmp_path, content)
    assert said in message
    assert message.startswith(str(tmp_path / "manifest.json")) and "again" in message


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
