"""Who gets which case, and what becomes of those of a worker that is lost."""

from __future__ import annotations

import pytest

from vesal.cluster.job import Job
from vesal.cluster.schedule import Limits, Schedule, Start, threads_of_worker


def job(name: str, cost: float = 1.0) -> Job:
    return Job(name, f"{name}.nii.gz", f"out/{name}_seg.nii.gz", ("liver",), None, cost)


def schedule(*jobs: Job, workers: tuple[str, ...] = ("w1", "w2"), **limits: float) -> Schedule:
    made = Schedule(jobs, Limits(**limits))
    for worker in workers:
        made.join(worker)
    return made


def name_of(start: Start | None) -> str | None:
    return None if start is None else start.job.name


def test_the_costliest_first_and_of_equal_ones_the_first() -> None:
    made = schedule(job("small", 1), job("large", 9), job("one", 5), job("two", 5))
    names = []
    while (start := made.next_for("w1")) is not None:
        names.append(start.job.name)
        made.done("w1")
    assert names == ["large", "one", "two", "small"]
    assert made.ended


def test_balanced_by_cost_the_last_ends_soon_after_the_first() -> None:
    """On a simulated clock: of 4 workers each is done within the cost of the smallest cases of all others."""
    costs = [float(1 + (7 * number) % 50) for number in range(200)]
    made = schedule(*(job(f"c{n}", cost) for n, cost in enumerate(costs)), workers=("0", "1", "2", "3"))
    free = dict.fromkeys("0123", 0.0)
    while not made.ended:
        worker = min(free, key=free.__getitem__)
        start = made.next_for(worker)
        assert start is not None
        made.ahead_for(worker)
        free[worker] += start.job.cost
        made.done(worker)
    assert max(free.values()) <= sum(costs) / 4 + 2


def test_a_worker_has_two_cases_at_most() -> None:
    made = schedule(job("a"), job("b"), job("c"))
    assert name_of(made.next_for("w1")) == "a"
    assert made.next_for("w1") is None
    assert made.ahead_for("w1") == job("b")
    assert made.ahead_for("w1") is None
    made.done("w1")
    assert name_of(made.next_for("w1")) == "b", "what it read ahead"


def test_at_the_end_a_free_worker_takes_what_another_reads_ahead() -> None:
    made = schedule(job("a", 9), job("b", 1))
    made.next_for("w1")
    made.ahead_for("w1")
    start = made.next_for("w2")
    assert start == Start(job("b", 1), 1, taken_from="w1")
    made.done("w1")
    assert made.next_for("w1") is None
    made.done("w2")
    assert made.ended


def test_cases_of_a_lost_worker_go_to_another() -> None:
    made = schedule(job("a", 3), job("b", 2), job("c", 1))
    made.next_for("w1")
    made.ahead_for("w1")
    assert made.lost("w1", "killed") == []
    assert made.next_for("w2") == Start(job("a", 3), 2)
    made.done("w2")
    assert made.next_for("w2") == Start(job("b", 2), 1), "it was only read ahead: no attempt of its own"
    made.done("w2")
    assert made.next_for("w2") == Start(job("c", 1), 1)


def test_not_again_on_the_worker_where_it_was_lost_if_there_is_another() -> None:
    made = schedule(job("a", 3), job("b", 2))
    made.next_for("w1")
    made.lost("w1", "killed")
    made.join("w1")
    assert name_of(made.next_for("w1")) == "b"
    assert name_of(made.next_for("w2")) == "a"


def test_alone_it_gets_its_case_again() -> None:
    made = schedule(job("a"), workers=("w1",))
    for attempt in (1, 2, 3):
        made.join("w1")
        assert made.next_for("w1") == Start(job("a"), attempt)
        assert not made.ended
        given_up = made.lost("w1", f"killed {attempt}")
    assert [(each.job, each.attempts, each.reason) for each in given_up] == [(job("a"), 3, "killed 3")]
    assert made.ended


def test_two_further_attempts_and_the_others_go_on() -> None:
    made = schedule(job("bad", 5), job("good", 1), workers=("w1", "w2"))
    given_up = []
    for worker in ("w1", "w2", "w1"):
        made.join(worker)
        assert name_of(made.next_for(worker)) == "bad"
        given_up += made.lost(worker, "it crashed")
    made.join("w1")
    assert [each.attempts for each in given_up] == [3]
    assert made.next_for("w1") == Start(job("good", 1), 1)
    made.done("w1")
    assert made.ended


def test_a_case_that_kills_whoever_reads_it_ahead_is_found() -> None:
    """The one that was run is blamed once; then each of both is run with nothing beside it."""
    made = schedule(job("good", 9), job("killer", 5), job("other", 1), workers=("w1",))
    made.next_for("w1")
    assert made.ahead_for("w1") == job("killer", 5)
    made.lost("w1", "killed")
    made.join("w1")
    assert made.next_for("w1") == Start(job("good", 9), 2)
    assert made.ahead_for("w1") is None
    made.done("w1")
    given_up = []
    for _ in range(3):
        made.join("w1")
        assert name_of(made.next_for("w1")) == "killer"
        assert made.ahead_for("w1") is None
        given_up += made.lost("w1", "killed")
    assert [each.job.name for each in given_up] == ["killer"]
    made.join("w1")
    assert made.next_for("w1") == Start(job("other", 1), 1)


def test_a_worker_that_is_lost_twice_is_lost_once() -> None:
    made = schedule(job("a"))
    made.next_for("w1")
    made.lost("w1", "killed")
    assert made.lost("w1", "killed") == []
    assert made.next_for("w2") == Start(job("a"), 2)


def test_how_long_a_case_may_take_follows_its_cost() -> None:
    made = schedule(job("a", 10), job("b", 100), job("c", 1), hang_s=5.0, hang_factor=20.0)
    assert made.limit_s(job("b", 100)) == 5.0, "nothing is known yet"
    made.next_for("w1")
    made.done("w1", seconds=20.0)
    assert made.limit_s(job("x", 100)) == 400.0
    assert made.limit_s(job("x", 0.001)) == 5.0


@pytest.mark.parametrize(
    ("workers", "processors", "threads"),
    [
        (1, [2], 2),
        (2, [2], 1),
        (4, [2], 1),
        (2, [16], 8),
        (3, [16], 5),
        (3, [4, 4], 2),
        (2, [4, 4], 4),
        (2, [2, 16], 8),
        (1, [], 1),
    ],
)
def test_threads_fill_the_processors(workers: int, processors: list[int], threads: int) -> None:
    assert threads_of_worker(workers, processors) == threads
