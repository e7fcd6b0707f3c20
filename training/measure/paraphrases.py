"""All phrasings of a class must ask for one target, and one target gives the same bytes.

First the sentences: share of a dataset's phrasings that ask for what the bare name of their class does, same
concept, side and modality. Then, with ``--data`` and ``--weights``, the engine: each case is run with every
phrasing of its classes, and the label maps are compared byte by byte with that of the file's own sentences.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.inference.api import Model, load
from vesal.training.coverage import known_targets
from vesal.training.measure.phrasings import Class, classes_of_file, made_classes, read_exceptions
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, key_of, parse, read_cases, run_case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    parser.add_argument("--prompts", type=Path, nargs="+", required=True, help="files as the challenge's own")
    parser.add_argument("--weights", type=Path, help="folder with a manifest.json, for made phrasings")
    parser.add_argument("--data", type=Path, help="with --weights: SET/*.npz to run with all phrasings")
    parser.add_argument("--most", type=int, default=1, help="at most this many cases of a set; 0: all")


def measure(args: argparse.Namespace) -> Report:
    """Sentences of the files, made ones, and the engine on some cases."""
    groups: dict[str, list[Class]] = {path.name: list(classes_of_file(path)) for path in args.prompts}
    if args.weights:
        groups["templates.json"] = list(made_classes(known_targets(args.weights)))
    rows = [row for source, classes in groups.items() for row in per_dataset(source, classes)]
    parts = [share_table(rows), "Phrasings that ask for something else:", astray_table(groups)]
    content: dict[str, Any] = {"datasets": rows, "astray": astray(groups)}
    if args.weights and args.data:
        model = load(str(args.weights.resolve()))
        classes = [c for path in args.prompts for c in groups[path.name]]
        compared = (compare(model, case, classes) for case in read_cases(args.data, args.most))
        runs = [run for run in compared if run]
        parts += ["Label maps of all phrasings, compared byte by byte:", runs_table(runs)]
        content |= {**about(model), "runs": runs}
    return Report("\n\n".join(parts), content)


def per_dataset(source: str, classes: Sequence[Class]) -> list[dict[str, Any]]:
    """One row a dataset: how many phrasings agree, and how many classes fall together."""
    explained, by = read_exceptions(), defaultdict(list)
    for c in classes:
        by[c.dataset].append(c)
    rows = []
    for dataset, group in by.items():
        count = sum(len(c.phrasings) for c in group)
        away = [p for c in group for p in c.astray]
        reasons = explained.get(dataset, {})
        rows.append(
            {
                "file": source,
                "dataset": dataset,
                "classes": len(group),
                "phrasings": count,
                "agree": count - len(away),
                "share": (count - len(away)) / count,
                "explained": sum(p.text in reasons for p in away),
                "merged": len({c.name for c in group}) - len({c.wanted for c in group}),
            }
        )
    return rows


def share_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: datasets, and the sum of each file."""
    lines = []
    for source in dict.fromkeys(row["file"] for row in rows):
        of = [row for row in rows if row["file"] == source]
        lines += [[source, *(_shown(row))] for row in of]
        total = {
            key: sum(r[key] for r in of) for key in ("classes", "phrasings", "agree", "explained", "merged")
        }
        lines.append(
            [source, *_shown({"dataset": "**all**", "share": total["agree"] / total["phrasings"], **total})]
        )
    header = (
        "file",
        "dataset",
        "classes",
        "phrasings",
        "agree",
        "share",
        "explained exceptions",
        "classes merged",
    )
    return markdown_table(header, lines)


def _shown(row: dict[str, Any]) -> list[Any]:
    share = f"{100 * row['share']:.2f} %"
    return [
        row["dataset"],
        row["classes"],
        row["phrasings"],
        row["agree"],
        share,
        row["explained"],
        row["merged"],
    ]


def astray(groups: dict[str, list[Class]]) -> list[dict[str, Any]]:
    """Every phrasing that asks for something else than the bare name of its class."""
    explained = read_exceptions()
    return [
        {
            "file": source,
            "dataset": c.dataset,
            "phrasing": p.text,
            "got": _words(p.got),
            "wanted": _words(c.wanted),
            "why": explained.get(c.dataset, {}).get(p.text, ""),
        }
        for source, classes in groups.items()
        for c in classes
        for p in c.astray
    ]


def astray_table(groups: dict[str, list[Class]]) -> str:
    """Markdown of ``astray``; a sentence where there is none."""
    found = astray(groups)
    if not found:
        return "none"
    return markdown_table(tuple(found[0]), [tuple(row.values()) for row in found])


def _words(key: tuple[str, str | None, str] | None) -> str:
    return " ".join(word for word in (key[1], key[0], "in", key[2]) if word) if key else "nothing known"


def compare(model: Model, labelled: Labelled, classes: Sequence[Class]) -> dict[str, Any] | None:
    """Run a case with every phrasing of its targets; None where the files have no other words for any.

    The phrasings of a prompt are those of the classes of the case's dataset that want the same target; in
    run k every prompt has its k-th.
    """
    wanted = {p.id: key_of(p) for p in labelled.prompts}
    others = {
        id_: [
            p.text
            for c in classes
            if c.dataset == labelled.dataset and c.wanted == key
            for p in c.phrasings
            if p not in c.astray
        ]
        for id_, key in wanted.items()
        if key
    }
    rounds = max(map(len, others.values()), default=0)
    if not rounds:
        return None
    own = digest(model, labelled, labelled.case.sentences)
    same = 0
    for k in range(rounds):
        sentences = {
            i: others[i][k % len(others[i])] if others.get(i) else text
            for i, text in labelled.case.sentences.items()
        }
        same += digest(model, labelled, sentences) == own
    return {
        "dataset": labelled.dataset,
        "case": labelled.case.name,
        "runs": rounds,
        "identical": same,
        "sha256": own,
    }


def digest(model: Model, labelled: Labelled, sentences: dict[int, str]) -> str:
    """SHA-256 of shape, type and bytes of the label map that some sentences give."""
    labels = run_case(model, labelled.case, parse(labelled.case, sentences)).labels
    return hashlib.sha256(f"{labels.shape} {labels.dtype}".encode() + labels.tobytes()).hexdigest()


def runs_table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: identical label maps per case."""
    return markdown_table(
        ("set", "case", "phrasings run", "identical label maps"),
        [(r["dataset"], r["case"], r["runs"], r["identical"]) for r in runs],
    )
