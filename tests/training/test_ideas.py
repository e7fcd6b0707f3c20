"""The switches of an ablation."""

import pytest

from vesal.training.ideas import Ideas


def test_named_ideas_are_off_and_the_others_on() -> None:
    some = Ideas().without(["spad", "dice"])
    assert not some.spad and not some.dice and some.own and some.presence
    assert Ideas().without([]) == Ideas()


def test_an_unknown_idea_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"\['luck'\]; there are \['alignment', 'cut', 'cutoff'"):
        Ideas().without(["luck", "spad"])
