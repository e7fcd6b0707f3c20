"""The lists of labelled sentences, and what is said of the parser on the half that nothing was tuned on."""

import pytest

from vesal.evaluation import sentences
from vesal.evaluation.sentences import HELD_OUT, TUNING, Outcome, Sentence, rates, read_sentences

LISTED = read_sentences()


def test_there_are_400_sentences_of_each_sort_and_none_twice() -> None:
    assert sum(bool(sentence.wanted) for sentence in LISTED) >= 400
    assert sum(not sentence.wanted for sentence in LISTED) >= 400
    assert len({(sentence.text, sentence.modality) for sentence in LISTED}) == len(LISTED)


def test_both_halves_hold_about_half() -> None:
    halves = [sentence.half for sentence in LISTED]
    assert 0.4 < halves.count(TUNING) / len(halves) < 0.6


def test_an_outcome_is_right_with_all_that_is_wanted_and_no_more_than_allowed() -> None:
    sentence = Sentence("x", "CT", "", frozenset({"liver"}), frozenset({"spleen"}))
    ran = [set(), {"liver"}, {"liver", "spleen"}, {"spleen"}, {"liver", "aorta"}]
    right = [Outcome(sentence, frozenset(run), "term", "").is_right for run in ran]
    assert right == [False, True, True, False, False]


def test_rates_of_a_hand_counted_list() -> None:
    asked, none = Sentence("a", "CT", "", frozenset({"liver"})), Sentence("b", "CT", "")
    runs = [(asked, {"liver"}), (asked, {"spleen"}), (asked, set()), (none, set()), (none, {"liver"})]
    r = rates([Outcome(sentence, frozenset(run), "term", "") for sentence, run in runs])
    assert (r.recall, r.refusal, r.precision) == (1 / 3, 1 / 2, 1 / 3)


def test_on_sentences_that_nothing_was_tuned_on() -> None:
    """Wanted: of names without an answer 95 % refused, of those with one 90 % right."""
    pytest.importorskip("onnxruntime")
    held_out = [sentence for sentence in LISTED if sentence.half == HELD_OUT]
    r = rates(sentences.take(held_out, *sentences.default_setup()))
    assert r.refusal >= 0.95 and r.recall >= 0.9 and r.precision >= 0.9
    assert r.answered >= 200 and r.unanswered >= 200
