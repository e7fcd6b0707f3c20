"""Wholes, and what they are made of where the weights know their parts alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vesal.inference.data.prompt import Target
from vesal.inference.prompts.vocabulary import VocabularyError, load_vocabulary
from vesal.inference.prompts.wholes import Made, load_wholes, made_of


def knowing(*names: str) -> Callable[[Target], bool]:
    return lambda target: target.name in names


def names(made: Made | None) -> tuple[list[str], list[str]] | None:
    if made is None:
        return None
    return [part.name for part in made.parts], [part.name for part in made.missing]


HIPPOCAMPUS = Target("hippocampus", None, "structure")
BOTH_PARTS = "anterior hippocampus", "posterior hippocampus"


@pytest.mark.parametrize(
    ("known", "target", "wanted"),
    [
        (BOTH_PARTS, HIPPOCAMPUS, (list(BOTH_PARTS), [])),
        (BOTH_PARTS[:1], HIPPOCAMPUS, (["anterior hippocampus"], ["posterior hippocampus"])),
        # Parts without a side are not the parts of one side.
        (BOTH_PARTS, Target("hippocampus", "left"), None),
        (("left kidney", "right kidney"), Target("kidney"), (["left kidney", "right kidney"], [])),
        (("left kidney",), Target("kidney"), (["left kidney"], ["right kidney"])),
        (("left kidney",), Target("kidney", "right"), None),
        (("kidney",), Target("kidney", "right"), None),
        # Complete parts go before one side of two.
        (("left hippocampus", *BOTH_PARTS), HIPPOCAMPUS, (list(BOTH_PARTS), [])),
        # Only the right lung has a middle lobe.
        (
            ("left lung upper lobe", "left lung lower lobe"),
            Target("lung", "left"),
            (["left lung upper lobe", "left lung lower lobe"], []),
        ),
        (
            ("left lung upper lobe", "left lung lower lobe"),
            Target("lung"),
            (["left lung upper lobe", "left lung lower lobe"], ["right lung"]),
        ),
        (("vertebra l1",), Target("vertebra"), None),
        (("liver",), Target("spleen"), None),
    ],
)
def test_a_whole_is_made_of_what_is_known_of_it(
    known: tuple[str, ...], target: Target, wanted: tuple[list[str], list[str]] | None
) -> None:
    assert names(made_of(target, knowing(*known))) == wanted


def test_parts_have_their_own_kind() -> None:
    made = made_of(
        Target("heart", None, "organ"), knowing("left ventricle", "left atrium", "right ventricle")
    )
    assert made is not None and {part.kind for part in made.parts} == {"heart chamber"}
    assert [part.name for part in made.missing] == ["left ventricle myocardium", "right atrium"]


def test_every_name_of_the_file_is_a_concept() -> None:
    concepts = load_vocabulary().concepts
    assert all(
        {name, *(part.concept for part in parts)} <= concepts.keys() for name, parts in load_wholes().items()
    )


@pytest.mark.parametrize(
    "content",
    [{"bell": ["liver"]}, {"liver": ["bell"]}, {"liver": ["liver"]}, {"heart": ["lung"], "lung": ["liver"]}],
)
def test_a_file_that_contradicts_itself_is_refused(content: dict, tmp_path: Path) -> None:
    path = tmp_path / "wholes.json"
    path.write_text(json.dumps(content))
    with pytest.raises(VocabularyError, match=r"wholes\.json"):
        load_wholes(path)
