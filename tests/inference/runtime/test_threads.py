"""Splitting work over threads: every part once, in order, errors and limits kept."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.inference.fakes import SAFETY_S
from vesal.inference.runtime import threads as parallel
from vesal.inference.runtime.threads import (
    in_parallel,
    in_slabs,
    limit_threads,
    thread_limit,
    threads_allowed,
)

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.usefixtures("four_threads")
def test_one_error_of_several_is_raised_when_all_have_stopped() -> None:
    """Four parts at once, and all of them fail: no other one is begun."""
    together = threading.Barrier(4, timeout=SAFETY_S)
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        together.wait()
        raise ValueError("together")

    with pytest.raises(ValueError, match="together"):
        in_parallel(work, range(100))
    assert sorted(begun) == [0, 1, 2, 3]


class Stop(BaseException):
    """As a handler of SIGTERM raises it, in the thread of the caller."""


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("in_caller", [True, False])
def test_what_stops_the_program_comes_before_errors(in_caller: bool) -> None:
    """Raised in the caller's thread, or in the others; all that run beside it fail with plain errors."""
    together, caller = threading.Barrier(4, timeout=SAFETY_S), threading.get_ident()

    def work(number: int) -> None:
        together.wait()
        raise Stop if (threading.get_ident() == caller) == in_caller else ValueError("beside it")

    with pytest.raises(Stop):
        in_parallel(work, range(1000))


@pytest.mark.usefixtures("four_threads")
def test_calls_within_calls_do_not_wait_for_one_another() -> None:
    """Each of 8 parts splits its own work again, and each of these once more."""

    def inner(number: int) -> int:
        return sum(in_parallel(lambda n: n + 1, range(number)))

    def outer(number: int) -> int:
        return sum(in_parallel(inner, [number] * 5))

    assert in_parallel(outer, range(8)) == [5 * n * (n + 1) // 2 for n in range(8)]


def test_no_thread_keeps_the_process() -> None:
    """None is left when the call is back, so a program ends when it has nothing more to do."""
    code = (
        "import threading; from vesal.inference.runtime import threads as t; "
        "t.available_threads = lambda limit: 4; t.in_parallel(lambda n: n, range(50)); "
        "assert threading.active_count() == 1; print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=SAFETY_S, check=True
    )
    assert done.stdout == b"done\n"


@pytest.mark.usefixtures("four_threads")
def test_a_limit_holds_inside_and_in_the_threads_that_are_started_there() -> None:
    with thread_limit(2):
        assert threads_allowed() == 2
        assert set(in_parallel(lambda _: threads_allowed(), range(50))) == {2}
        with thread_limit(3):
            assert threads_allowed() == 2, "an inner limit does not exceed the outer one"
        with thread_limit(None):
            assert threads_allowed() == 2
    assert threads_allowed() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_limit_ends_with_an_error() -> None:
    with pytest.raises(ValueError), thread_limit(1):
        raise ValueError
    assert threads_allowed() == 4


@pytest.mark.usefixtures("four_threads")
def test_limits_of_two_threads_do_not_mix() -> None:
    """Two models at work at once, of one thread and of three, in a process that allows four."""
    both = threading.Barrier(2, timeout=SAFETY_S)
    seen: dict[int, set[int]] = {}

    def model(limit: int) -> None:
        with thread_limit(limit):
            both.wait()
            seen[limit] = {threads_allowed(), *in_parallel(lambda _: threads_allowed(), range(50))}
            both.wait()

    threads = [threading.Thread(target=model, args=(limit,)) for limit in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: {1}, 3: {3}}
    assert threads_allowed() == 4


@pytest.mark.usefixtures("four_threads")
def test_the_limit_of_the_process_stands_above_that_of_a_model() -> None:
    limit_threads(2)
    with thread_limit(3):
        assert threads_allowed() == 2


def test_no_parts() -> None:
    assert in_parallel(lambda part: part, []) == []


@pytest.mark.parametrize(
    ("length", "thickness", "expected"),
    [(0, 4, []), (5, 2, [(0, 2), (2, 4), (4, 5)]), (3, 0, [(0, 1), (1, 2), (2, 3)]), (3, 9, [(0, 3)])],
)
def test_slabs_cover_all_planes_once(length: int, thickness: int, expected: list[tuple[int, int]]) -> None:
    assert [(s.start, s.stop) for s in in_slabs(length, thickness)] == expected
