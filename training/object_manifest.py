"""What a manifest says of the head that tells objects apart: its graphs, and the rule that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEGREES = 3
"""Of anisotropy, each with a graph."""
MODALITY = "Microscopy"
RULE: dict[str, Any] = {"rule": "seeded_watershed", "concepts": ["cell nucleus", "cell"]}


def with_objects(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that names the head's graphs and has the rule for objects, before ``instances``."""
    graphs = {"modalities": [MODALITY], "graphs": {str(d): f"objects{d}.onnx" for d in range(DEGREES)}}
    rules = [rule for rule in content["postprocess"] if rule["rule"] != RULE["rule"]]
    last = [n for n, rule in enumerate(rules) if rule["rule"] == "instances"]
    at = last[0] if last else len(rules)
    return {**content, "objects": graphs, "postprocess": [*rules[:at], RULE, *rules[at:]]}


def without_objects(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A manifest without the head, whose graphs are deleted from the folder: where the features that it sees
    are new ones, it has to be trained again.
    """
    graphs = content.get("objects", {}).get("graphs", {}).values()
    for name in graphs:
        (folder / name).unlink(missing_ok=True)
    kept = {key: value for key, value in content.items() if key != "objects"}
    kept["files"] = {name: said for name, said in content["files"].items() if name not in graphs}
    if graphs:
        kept["postprocess"] = [rule for rule in content["postprocess"] if rule["rule"] != RULE["rule"]]
    return kept
