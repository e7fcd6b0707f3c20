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
from vesal.postprocess.components import Components
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.presence import Presence

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
        "stages": [
            {"name": "coarse", "role": "locate", "window_voxels": 100_000, "threshold": 0.4},
            {
                "name": "fine",
                "role": "refine",
                "window_voxels": 200_000,
                "margin_factor": 1.3,
                "rounds": 2,
            },
        ],
        "overrides": [
            {"modality": "US", "stages": {"fine": {"skip": True}}},
            {"kind": "lesion", "stages": {"coarse": {"max_windows": 8}}},
        ],
        "postprocess": [
            {"rule": "presence", "threshold": 0.2},
            {"rule": "components", "kinds": ["organ", "bone"]},
            {"rule": "fill_holes", "axis": 0},
        ],
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
    coarse, fine = profile.stages
    assert (coarse.name, coarse.role, fine.name, fine.role) == ("coarse", "locate", "fine", "refine")
    assert (coarse.window_voxels, coarse.threshold, coarse.overlap) == (100_000, 0.4, 0.5)
    assert (fine.margin_factor, fine.rounds) == (1.3, 2)
    assert (profile.stage("coarse"), profile.stage("fine")) == (coarse, fine)
    assert profile.postprocess == (
        Presence(threshold=0.2),
        Components(kinds=("organ", "bone")),
        FillHoles(axis=0),
    )
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
    assert (coarse, fine.skip, fine.rounds) == (profile.stage("coarse"), True, 2)
    coarse, fine = profile.rules_for("CT", "lesion")
    assert (coarse.max_windows, coarse.threshold, fine) == (8, 0.4, profile.stage("fine"))
    assert profile.rules_for("CT", "organ") == profile.stages


def test_overrides_and_postprocess_may_be_absent(tmp_path: Path) -> None:
    content = manifest()
    for key in ("overrides", "postprocess"):
        del content[key]
    profile = read_profile(write(tmp_path, content))
    assert (profile.overrides, profile.postprocess) == ((), ())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"window_voxels": 4095}, "`$.stages[0].window_voxels` is 4095; the layout needs 4096 or more"),
        ({"max_windows": 0}, "Expected `int` >= 1 - at `$.stages[0].max_windows`, which is 0"),
        ({"rounds": 0}, "Expected `int` >= 1 - at `$.stages[0].rounds`, which is 0"),
        ({"overlap": 1.0}, "Expected `float` < 1.0 - at `$.stages[0].overlap`, which is 1.0"),
        ({"overlap": -0.1}, "Expected `float` >= 0.0 - at `$.stages[0].overlap`, which is -0.1"),
        ({"low_threshold": 0}, "Expected `float` > 0.0 - at `$.stages[0].low_threshold`, which is 0"),
        ({"low_threshold": 0.6}, "Expected `float` <= 0.5 - at `$.stages[0].low_threshold`, which is 0.6"),
        ({"max_targets_per_view": 0}, "Expected `int` >= 1 - at `$.stages[0].max_targets_per_view`"),
        ({"max_spacing_ratio": 0.5}, "Expected `float` >= 1.0 - at `$.stages[0].max_spacing_ratio`"),
        ({"margin_factor": 0}, "Expected `float` > 0.0 - at `$.stages[0].margin_factor`"),
        ({"complementary_block": -8}, "Expected `int` >= 0 - at `$.stages[0].complementary_block`"),
        ({"window_voxels": 0}, "Expected `int` >= 1 - at `$.stages[0].window_voxels`, which is 0"),
        ({"layout": None}, "Expected `object`, got `null` - at `$.stages[0].layout`, which is None"),
        ({"layout": {"kind": "grid"}}, "Invalid value 'grid' - at `$.stages[0].layout.kind`"),
        ({"layout": {"kind": "slices", "axis": 3}}, "Invalid enum value 3 - at `$.stages[0].layout.axis`"),
        ({"label_region": None}, "unknown field `label_region` - at `$.stages[0]`"),
        ({"name": "Coarse"}, "matching regex '^[a-z][a-z0-9_-]*\\\\Z' - at `$.stages[0].name`"),
        ({"role": "find"}, "Invalid enum value 'find' - at `$.stages[0].role`"),
        ({"foreground_threshold": 1.0}, "Expected `float` < 1.0 - at `$.stages[0].foreground_threshold`"),
        ({"min_component_share": 1.5}, "Expected `float` <= 1.0 - at `$.stages[0].min_component_share`"),
        ({"max_queries": 0}, "Expected `int` >= 1 - at `$.stages[0].max_queries`"),
    ],
)
def test_impossible_stages_are_refused(tmp_path: Path, values: Content, said: str) -> None:
    content = manifest()
    content["stages"][0] |= values
    assert said in refusal(tmp_path, content)


def test_no_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="manifest.json cannot be read .*Weights are named by"):
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


@pytest.mark.parametrize("key", ["name", "family", "licence", "graphs", "files", "stages", "targets"])
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
        ("stages", "$.stages[0]"),
        ("postprocess", "$.postprocess[0]"),
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
    known = "nano, query, biomedparse-v, segvol, voxtell, spad, closed"
    said = rf"manifest.json .*one of {known} - at `\$.family`, which is '{family}'"
    with pytest.raises(ProfileError, match=said):
        open_model(read_profile(write(tmp_path, manifest() | {"family": family})), SimpleNamespace())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # A word, a truth value and a number where something else is wanted.
        (
            lambda c: c["stages"][0].update(window_voxels="many"),
            "Expected `int`, got `str` - at `$.stages[0].window_voxels`, which is 'many'",
        ),
        (
            lambda c: c["stages"][1].update(overlap=True),
            "Expected `float`, got `bool` - at `$.stages[1].overlap`, which is True",
        ),
        (
            lambda c: c["stages"][1].update(skip=1),
            "Expected `bool`, got `int` - at `$.stages[1].skip`, which is 1",
        ),
        (
            lambda c: c["stages"][0].update(max_windows=2.5),
            "Expected `int`, got `float` - at `$.stages[0].max_windows`, which is 2.5",
        ),
        # A list where a string is wanted, and the other way round.
        (
            lambda c: c.update(bank=[BANK]),
            "Expected `str | null`, got `array` - at `$.bank`, which is ['bank.npz']",
        ),
        (
            lambda c: c["targets"][1].update(concept=["kidney"]),
            "Expected `str`, got `array` - at `$.targets[1].concept`, which is ['kidney']",
        ),
        (
            lambda c: c["postprocess"][1].update(kinds="organ"),
            "Expected `array | null`, got `str` - at `$.postprocess[1].kinds`, which is 'organ'",
        ),
        # Targets: without modality, with one that there is not, with a Dice above 1.
        (lambda c: c["targets"][0].pop("modality"), "missing required field `modality` - at `$.targets[0]`"),
        (
            lambda c: c["targets"][2].update(modality="MRI"),
            "matching regex '^(CT|MR|US|PET|Microscopy)\\\\Z' - at `$.targets[2].modality`, which is 'MRI'",
        ),
        (lambda c: c["targets"][1].update(side="both"), "'^(left|right)\\\\Z' - at `$.targets[1].side`"),
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
        (lambda c: c["overrides"][0].update(stages=[]), "got `array` - at `$.overrides[0].stages`"),
        (
            lambda c: c["overrides"][0]["stages"].update(fine=[]),
            "Expected `object`, got `array` - at `$.overrides[0].stages[...]`",
        ),
        (lambda c: c["overrides"][0].update(fine={}), "unknown field `fine` - at `$.overrides[0]`"),
        (
            lambda c: c["overrides"][0]["stages"].update(middle={}),
            "`$.overrides[0].stages` names middle; the stages are coarse, fine",
        ),
        (
            lambda c: c["overrides"][0]["stages"]["fine"].update(role="locate"),
            "`$.overrides[0].stages.fine` changes role, which all targets share",
        ),
        (
            lambda c: c["overrides"][1]["stages"]["coarse"].update(max_windows="8"),
            "Expected `int`, got `str` - at `$.overrides[1].stages.coarse.max_windows`, which is '8'",
        ),
        (
            lambda c: c["overrides"][0]["stages"]["fine"].update(grow=1.3),
            "unknown field `grow` - at `$.overrides[0].stages.fine`",
        ),
        (
            lambda c: c["overrides"][1]["stages"]["coarse"].update(window_voxels=4095, max_windows=1),
            "`$.overrides[1].stages.coarse.window_voxels` is 4095; the layout needs 4096 or more",
        ),
        # The rest.
        (
            lambda c: c["stages"][0].pop("window_voxels"),
            "required field `window_voxels` - at `$.stages[0]`",
        ),
        (
            lambda c: c["stages"].__setitem__(0, None),
            "Expected `object`, got `null` - at `$.stages[0]`, which is None",
        ),
        (lambda c: c.update(stages=[]), "Expected `array` of length >= 1 - at `$.stages`"),
        (lambda c: c["stages"][0].pop("name"), "`$.stages[0]` has no name"),
        (lambda c: c["stages"][1].pop("role"), "`$.stages[1]` has no role"),
        (lambda c: c["stages"][1].update(name="coarse"), "`$.stages[1].name` is 'coarse' again"),
        (lambda c: c["stages"][1].update(role="locate"), "only the first stage can locate"),
        (lambda c: c.update(hybrid="both"), "`$.hybrid` is 'both'; one of coarse, fine, off is wanted"),
        (
            lambda c: c.update(orientation=ORIENTATION | {"min_gain": 0}),
            "Expected `float` > 0.0 - at `$.orientation.min_gain`, which is 0",
        ),
        # Rules of postprocessing: each is named, and has its own fields.
        (
            lambda c: c["postprocess"].append({"rule": "instances", "min_voxels": 0}),
            "`int` >= 1 - at `$.postprocess[3].min_voxels`, which is 0",
        ),
        (
            lambda c: c["postprocess"][1].update(ids=[1]),
            "unknown field `ids` - at `$.postprocess[1]`, which is {",
        ),
        (
            lambda c: c["postprocess"][1].update(rule="largest"),
            "`$.postprocess[1].rule` is 'largest'; one of presence, slice_nms, slices, components, "
            "fill_holes, smooth, specks, round_objects, edges, seeded_watershed, instances is wanted",
        ),
        (
            lambda c: c["postprocess"][1].update(kinds=["organ", "organs"]),
            "`$.postprocess[1].kinds` names organs; the kinds are ",
        ),
        (
            lambda c: c["postprocess"].append({"rule": "instances", "kinds": ["lesion"]}),
            "unknown field `kinds` - at `$.postprocess[3]`",
        ),
        (
            lambda c: c["overrides"][1].update(kind="lesions"),
            "`$.overrides[1].kind` names lesions; the kinds",
        ),
        (lambda c: c["postprocess"][1].pop("rule"), "`$.postprocess[1].rule` is None; one of presence, "),
        (
            lambda c: c["postprocess"][1].update(rule=["presence"]),
            "`$.postprocess[1].rule` is ['presence']; ",
        ),
        (lambda c: c["postprocess"].append("smooth"), "Expected `object`, got `str` - at `$.postprocess[3]`"),
        (lambda c: c.update(postprocess={}), "Expected `array`, got `object` - at `$.postprocess`"),
        (
            lambda c: c["postprocess"][0].update(threshold="0.2"),
            "Expected `float`, got `str` - at `$.postprocess[0].threshold`, which is '0.2'",
        ),
        (
            lambda c: c["postprocess"][0].update(threshold=1.5),
            "Expected `float` <= 1.0 - at `$.postprocess[0].threshold`, which is 1.5",
        ),
        (
            lambda c: c["postprocess"][2].update(axis=3),
            "Invalid enum value 3 - at `$.postprocess[2].axis`, which is 3",
        ),
        (
            lambda c: c["postprocess"].append({"rule": "smooth", "radius_mm": -1}),
            "Expected `float` >= 0.0 - at `$.postprocess[3].radius_mm`, which is -1",
        ),
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
