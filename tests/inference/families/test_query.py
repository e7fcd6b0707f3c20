"""Medal S and SAT opened from a profile: their stages, their memory, their rules."""

import hashlib
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import make_case, make_profile, make_prompt
from tests.inference.families.published.made import CONTENT
from tests.inference.families.published.recorded import PROFILE
from tests.inference.families.query_graphs import Recorder, queries
from vesal.inference.data.errors import ProfileError
from vesal.inference.families.contract import Decoded, Window
from vesal.inference.families.query import QueryModel
from vesal.inference.families.query_bank import QueryBank
from vesal.inference.families.query_manifest import QueryFields, published_rules
from vesal.inference.families.query_stage import QueryStage
from vesal.inference.families.registry import open_model
from vesal.inference.geometry.layouts import Fit
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.planning.rules import StageRule

BANK = QueryBank({}, np.zeros((5, 2), np.float32))
STAGES = {"coarse": {"encoder": "a", "embed": "x"}, "fine": {"encoder": "b", "embed": "y", "prompted": "c"}}
NETWORK: dict[str, dict[str, Any]] = {"coarse": {}, "fine": {}}


class Counting:
    """Loads recorders and knows which are still held."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.precisions: set[str | None] = set()
        self.held: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Recorder:
        """A recorder, noted by the file's name."""
        graph = Recorder(path.name)
        self.loaded.append(path.name)
        self.precisions.add(precision)
        self.held[path.name] = graph
        return graph


class NoRuntime:
    """Nothing is to be loaded."""

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Recorder:
        """Fail."""
        raise AssertionError(path)


def profile(folder: Path, **family_fields: Any) -> Profile:
    """A profile of this family with a bank of two numbers a query."""
    vectors = {
        "names": np.array(["liver"]),
        "vectors": np.zeros((1, 2)),
        "modality_vectors": np.zeros((5, 2)),
    }
    np.savez(folder / "bank.npz", **vectors)
    fields = {"graphs": STAGES, "network": NETWORK} | family_fields
    fitted = StageRule(32**3, layout=Fit(32, degrees=False))
    return replace(
        make_profile(fitted, fitted),
        folder=folder,
        bank=folder / "bank.npz",
        family="query",
        files=frozenset("abcxy"),
        family_fields=fields,
    )


def decode(stage: QueryStage, spatial: np.ndarray | None) -> Decoded:
    """One black window for one query."""
    window = Window(np.zeros((1, 64, 32, 32), np.float32), 0, prompted=spatial is not None)
    return stage.decode(stage.encode(window), queries(1), spatial, None)


def test_one_network_serves_both_stages() -> None:
    coarse, fine = (QueryStage(Recorder("encoder"), Recorder("embed"), None) for _ in range(2))
    both = QueryModel({"coarse": coarse, "fine": fine}, BANK, make_profile())
    assert (both.stage("coarse"), both.stage("fine")) == (coarse, fine)
    assert [(s.name, s.role) for s in both.capabilities.stages] == [("coarse", "locate"), ("fine", "refine")]
    alone = QueryModel({"fine": fine}, BANK, make_profile())
    assert (alone.stage("coarse"), alone.stage("fine")) == (fine, fine)
    assert alone.capabilities.stages == ()


def test_graphs_of_one_stage_are_held_at_a_time(tmp_path: Path) -> None:
    runtime = Counting()
    model = open_model(profile(tmp_path), runtime)
    assert not runtime.loaded
    coarse, fine = model.stage("coarse"), model.stage("fine")
    prompt = np.ones((1, 64, 32, 32), np.float32)
    for _ in range(2):
        decode(coarse, None)
    assert runtime.loaded == ["a", "x"]
    decode(fine, prompt)
    decode(fine, None)
    decode(fine, prompt)
    assert runtime.loaded[2:] == ["c", "b", "y"] and set(runtime.held) == {"b", "c", "y"}
    decode(coarse, None)
    assert runtime.loaded[5:] == ["a", "x"] and set(runtime.held) == {"a", "x"}
    assert runtime.precisions == {None}


def test_a_stage_is_run_in_the_precision_that_the_conversion_chose(tmp_path: Path) -> None:
    runtime = Counting()
    used = profile(tmp_path, network={"coarse": {}, "fine": {"precision": "fp32"}})
    decode(QueryModel.open(used, runtime).stage("fine"), None)
    assert runtime.precisions == {"fp32"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"graphs": {"fine": {}}}, "missing required field `encoder` - at `$.graphs[...]`"),
        ({"graphs": {"fine": {"plain": "x", "prompted": "y"}}}, "convert the weights again"),
        ({"graphs": {"late": {"encoder": "x", "embed": "y"}}}, "matching regex '^(coarse|fine)"),
        ({"graphs": {"fine": {"encoder": "x", "embed": "y", "late": "z"}}}, "unknown field `late`"),
        ({"graphs": {"fine": "x"}}, "Expected `object`, got `str` - at `$.graphs[...]`"),
        ({"network": {"coarse": {}}}, "each stage needs both"),
        ({"network": {"fine": {"precision": "fp8"}}}, "matching regex '^(bf16|fp32)"),
        ({"network": {"fine": {"window_dhw": [96, 96]}}}, "`array` of length 3, got 2"),
        ({"network": NETWORK | {"fine": {"query": 7}}}, "take queries of [7] numbers, the bank holds 2"),
        ({"text": {"graph": "t.onnx"}}, "missing required field `tokenizer` - at `$.text`"),
        ({"rules": []}, "Expected `object | null`, got `array` - at `$.rules`"),
        ({"rules": {"coarse": {}}}, "missing required field `crop` - at `$.rules.coarse`"),
        ({"stand_ins": []}, "unknown field `stand_ins` - at `$`"),
        ({"published": 1}, "Expected `bool`, got `int` - at `$.published`"),
        ({"published": True}, "no `$.rules` of a published system"),
    ],
)
def test_fields_that_are_not_right_are_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        QueryModel.open(profile(tmp_path, **fields), NoRuntime())
    assert said in str(caught.value) and str(tmp_path / "manifest.json") in str(caught.value)


def test_a_folder_without_a_bank_is_named(tmp_path: Path) -> None:
    used = profile(tmp_path)
    used.bank.unlink()
    with pytest.raises(ProfileError, match="bank.npz is no bank"):
        QueryModel.open(used, NoRuntime())


def test_the_networks_own_window_wins_over_the_rules(tmp_path: Path) -> None:
    facts = NETWORK | {"fine": {"window_dhw": [64, 32, 32], "spacing_dhw_mm": None}}
    used = profile(tmp_path, rules=CONTENT, network=facts)
    found = published_rules(used, used.read_family(QueryFields))
    assert found is not None and not found.names.classes
    assert found.rules.fine.crop == (64, 32, 32) and found.rules.fine.target_mm == (1.0, 1.0, 1.0)
    assert found.rules.coarse.crop == (32, 32, 32)


@pytest.mark.parametrize("ruled", [True, False])
def test_a_profile_with_rules_is_planned_by_them(tmp_path: Path, ruled: bool) -> None:
    model = QueryModel.open(profile(tmp_path, **{"rules": CONTENT} if ruled else {}), NoRuntime())
    prompts = [make_prompt(1, "liver", text="Liver in CT")]
    plan = model.plan(prompts, make_profile(), make_case(np.zeros((40, 40, 40), np.uint8), prompts))
    assert (plan.batches[0].stages[1].label_region is not None) is ruled
    assert (plan.batches[0].stages[1].layout != make_profile().stage("fine").layout) is ruled


def test_a_manifest_with_rules_is_read_with_its_names(tmp_path: Path) -> None:
    """The profile that the converter writes out, with the names that it ships."""
    folder = tmp_path / "medal-s"
    (folder / "profile").mkdir(parents=True)
    (folder / "profile" / "names.json").write_text((PROFILE / "names.json").read_text())
    content = json.loads((PROFILE / "profile.json").read_text()) | {
        "name": "medal-s",
        "family": "query",
        "licence": "none",
        "graphs": {
            "coarse": {"encoder": "c.onnx", "embed": "e.onnx"},
            "fine": {"encoder": "f.onnx", "embed": "e.onnx", "prompted": "p.onnx"},
        },
        "network": NETWORK,
        "bank": "bank.npz",
        "targets": [{"concept": "liver", "side": None, "modality": "CT"}],
        "files": {},
    }
    for name in ("c.onnx", "e.onnx", "f.onnx", "p.onnx", "bank.npz"):
        (folder / name).write_bytes(b"x")
        content["files"][name] = {
            "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        }
    names = (folder / "profile" / "names.json").read_bytes()
    content["files"]["profile/names.json"] = {"sha256": hashlib.sha256(names).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(content))
    read = read_profile(folder)
    fields = read.read_family(QueryFields)
    assert fields.graphs["fine"].prompted == "p.onnx" and fields.graphs["coarse"].prompted is None
    found = published_rules(read, fields)
    assert found is not None and not found.rules.paper and "CT" in found.names.classes
    (folder / "profile" / "names.json").unlink()
    with pytest.raises(ProfileError, match=r"names.json cannot be read .*manifest.json names it"):
        published_rules(read, fields)


@pytest.mark.parametrize("switch", [False, True])
def test_the_switch_and_what_draws_the_blocks_reach_the_rules(tmp_path: Path, switch: bool) -> None:
    """`published` in the profile; the blocks are an argument of the family."""

    def draw(*_: Any) -> np.ndarray:
        raise AssertionError

    used = profile(tmp_path, rules=CONTENT, published=switch)
    model = QueryModel.open(used, NoRuntime(), draw)
    case = make_case(np.zeros((40, 72, 72), np.uint8), [make_prompt(1, "liver")])
    (batch,) = model.plan([make_prompt(1, "liver")], used, case).batches
    for rule in batch.stages:
        assert (rule.label_maker is not None, rule.skip_empty) == (switch, not switch)
        assert rule.refine_windows and rule.block_masks is draw


def test_the_published_code_and_the_paper_exclude_each_other(tmp_path: Path) -> None:
    used = profile(tmp_path, rules=CONTENT | {"paper": True}, published=True)
    with pytest.raises(ProfileError, match=r"\$.published"):
        QueryModel.open(used, NoRuntime())
