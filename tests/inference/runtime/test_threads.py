"""Splitting work over threads: every part once, in order, errors and limits kept."""

import threading
import time

import pytest

from vesal.inference.runtime import threads as parallel
from vesal.inference.runtime.threads import in_parallel, in_slabs, limit_threads, threads_allowed


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with four processors."""
    monkeypatch.setattr(parallel, "available_threads", lambda limit: min(4, limit or 4))
    yield
    limit_threads(None)


@pytest.mark.usefixtures("four_threads")
def test_every_part_is_done_once_and_in_order() -> None:
    done = []
    result = in_parallel(lambda n: (done.append(n), n * n)[1], range(100))
    assert result == [n * n for n in range(100)]
    assert sorted(done) == list(range(100))


@pytest.mark.usefixtures("four_threads")
def test_four_threads_work_at_once_and_no_more() -> None:
    """Four parts that wait for one another end only where four run together."""
    together = threading.Barrier(4, timeout=300)
    in_parallel(lambda _: together.wait(), range(4))
    names = set(in_parallel(lambda _: (together.wait(), threading.get_ident())[1], range(8)))
    assert len(names) == 4


@pytest.mark.usefixtures("four_threads")
def test_a_limit_keeps_to_the_callers_thread() -> None:
    limit_threads(1)
    assert threads_allowed() == 1
    assert set(in_parallel(lambda _: threading.get_ident(), range(8))) == {threading.get_ident()}
    limit_threads(None)
    assert threads_allowed() == 4


@pytest.mark.usefixtures("four_threads")
def test_an_error_is_raised_and_no_thread_is_left() -> None:
    """Part 3 fails, wherever it runs; what nobody has begun is left out.

    The others linger then, so that its thread comes to tell of it, however busy the machine is.
    """
    before = set(threading.enumerate())
    begun, failing = [], threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            failing.set()
            raise ValueError("part 3")
        if failing.is_set():
            time.sleep(0.01)

    with pytest.raises(ValueError, match="part 3"):
        in_parallel(work, range(40_000))
    assert len(begun) < 40_000
    assert set(threading.enumerate()) <= before


def test_no_parts() -> None:
    assert in_parallel(lambda part: part, []) == []


@pytest.mark.parametrize(
    ("length", "thickness", "expected"),
    [(0, 4, []), (5, 2, [(0, 2), (2, 4), (4, 5)]), (3, 0, [(0, 1), (1, 2), (2, 3)]), (3, 9, [(0, 3)])],
)
def test_slabs_cover_all_planes_once(length: int, thickness: int, expected: list[tuple[int, int]]) -> None:
    assert [(s.start, s.stop) for s in in_slabs(length, thickness)] == expected
