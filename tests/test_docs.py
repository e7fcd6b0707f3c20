"""What code and prose cite is in the repository."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from vesal.postprocess.registry import RULES

ROOT = Path(__file__).resolve().parent.parent
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
SOURCES = [
    path
    for path in ROOT.rglob("*.py")
    if not str(path.relative_to(ROOT)).startswith(".") and path != Path(__file__).resolve()
]
PROSE = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("weights/*/README.md")]
PROSE += [ROOT / "training" / "README.md"]
FACT_DOCS = ("medal_s.md", "sat.md", "checkpoints.md")
BESIDE = re.compile(r"DESIGN\b|shared/reference|(?<!docs/)\b(?:medal_s|sat|checkpoints)\.md")


def unwrapped(text: str) -> str:
    """Text with its lines joined: a citation may be broken between two."""
    return re.sub(r"\s*\n\s*(?:# )?", " ", text)


def cited_docs(text: str) -> set[str]:
    """Names of the documents that a text cites."""
    return set(re.findall(r"docs/(\w+\.md)", text))


def cited_facts(text: str) -> set[tuple[str, int]]:
    """Numbered facts that a text cites, as in `docs/medal_s.md 7 to 9, 12 and 15`."""
    found = set()
    for name, numbers in re.findall(r"docs/(\w+\.md)`*,? (\d+(?:(?:, | to | and )\d+)*)", unwrapped(text)):
        for part in re.split(r", | and ", numbers):
            first, *last = (int(n) for n in part.split(" to "))
            found |= {(name, n) for n in range(first, (last or [first])[0] + 1)}
    return found


def cited_sections(text: str) -> set[str]:
    """Headings of the design that a text cites, each with what follows it in the sentence."""
    return set(re.findall(r"docs/design\.md`*, ([A-Z][a-z ]+)", unwrapped(text)))


def facts(name: str) -> set[tuple[str, int]]:
    """The numbered facts of a document."""
    return {(name, int(n)) for n in re.findall(r"^(\d+)\. ", DOCS[name], re.MULTILINE)}


def test_citations_are_found() -> None:
    text = "docs/medal_s.md 7 to 9,\n 12 and 15; ``docs/sat.md`` 3 (docs/design.md, The way of\n a case)"
    assert cited_docs(text) == {"medal_s.md", "sat.md", "design.md"}
    assert cited_facts(text) == {("sat.md", 3)} | {("medal_s.md", n) for n in (7, 8, 9, 12, 15)}
    assert cited_sections(text) == {"The way of a case"}
    assert BESIDE.search("Facts: ``medal_s.md`` 13") and not BESIDE.search("Facts: docs/medal_s.md 13")


def test_facts_are_numbered_without_a_gap() -> None:
    for name in FACT_DOCS:
        assert facts(name) == {(name, n + 1) for n in range(len(facts(name)))}


def test_what_code_and_prose_cite_is_there() -> None:
    known = set().union(*map(facts, FACT_DOCS))
    headings = tuple(re.findall(r"^## (.*)$", DOCS["design.md"], re.MULTILINE))
    for path in [*SOURCES, *PROSE]:
        text = path.read_text(encoding="utf-8")
        assert cited_docs(text) <= DOCS.keys(), path
        assert cited_facts(text) <= known, path
        assert all(section.startswith(headings) for section in cited_sections(text)), path


def test_code_cites_nothing_beside_the_repository() -> None:
    beside = [path for path in SOURCES if BESIDE.search(path.read_text(encoding="utf-8"))]
    assert not [str(path.relative_to(ROOT)) for path in beside]


def test_every_rule_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCS["design.md"], re.MULTILINE)
    assert set(RULES) <= set(rows)


def test_links_in_prose_lead_somewhere() -> None:
    for path in PROSE:
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), (path, link)


def test_files_that_prose_names_are_there() -> None:
    """Those of our folders: `NAME.npz` is an example, and `profile.json` lies beside its README."""
    ours = re.compile(
        r"`((?:inference|postprocess|networks|training|tests|docs)/[\w/]+\.(?:py|json|md))`|`(tests/[\w/]+)`"
    )
    for path in PROSE:
        for name, folder in ours.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / (name or folder)).exists(), (path, name or folder)


def test_the_lines_of_python_in_the_readme_run() -> None:
    """On a volume in which there is nothing to find."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"^    import vesal\n(?:    .*\n)+", readme, re.MULTILINE)
    assert lines
    names: dict[str, Any] = {"image": np.zeros((8, 24, 24), np.int16)}
    exec(re.sub(r"^    ", "", lines[0], flags=re.MULTILINE), names)
    result = names["result"]
    assert result.labels.shape == (8, 24, 24)
    assert [prompt.target for prompt in result.prompts] == ["liver", "left kidney"]
