"""BLAS on one thread while somebody needs it, and as before afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy  # noqa: F401 - loads its BLAS
import pytest
from threadpoolctl import threadpool_info

from vesal.inference.runtime.blas import one_blas_thread


def blas_threads() -> int:
    """Threads of numpy's BLAS; other libraries of this process may bring one of their own."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return next((b["num_threads"] for b in found if "numpy" in b["filepath"]), 1)


@pytest.fixture
def before() -> int:
    """How many threads it has outside."""
    threads = blas_threads()
    if threads < 2:
        pytest.skip("numpy's BLAS has but one thread here")
    return threads


def test_one_inside_and_as_before_outside(before: int) -> None:
    with one_blas_thread():
        assert blas_threads() == 1
        with one_blas_thread():
            assert blas_threads() == 1
        assert blas_threads() == 1
    assert blas_threads() == before
    with one_blas_thread():
        assert blas_threads() == 1
    assert blas_threads() == before


def test_an_error_puts_it_back(before: int) -> None:
    with pytest.raises(ValueError), one_blas_thread():
        raise ValueError
    assert blas_threads() == before


def test_the_last_of_several_threads_puts_it_back(before: int) -> None:
    """The one that came first leaves first: the other still works with one thread."""
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    seen: list[int] = []

    def first() -> None:
        with one_blas_thread():
            first_is_in.set()
            assert second_is_in.wait(10)
        first_is_out.set()

    def second() -> None:
        assert first_is_in.wait(10)
        with one_blas_thread():
            second_is_in.set()
            assert first_is_out.wait(10)
            seen.append(blas_threads())

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1]
    assert blas_threads() == before


def test_many_threads_at_once(before: int) -> None:
    """Each sees one thread however they come and go; a limit that the first one set is not in its hands."""
    all_in = threading.Barrier(8, timeout=10)
    seen: list[int] = []

    def user(_: int) -> None:
        for _ in range(20):
            with one_blas_thread():
                seen.append(blas_threads())
        all_in.wait()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(user, range(8)))
    assert len(seen) == 160 and set(seen) == {1}
    assert blas_threads() == before
