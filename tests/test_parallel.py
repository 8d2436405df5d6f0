"""Results come in order, no more is begun than allowed, and what fails fails where its result would be."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from dermsentry.parallel import cores, map_ordered


def test_results_come_in_the_order_of_the_items() -> None:
    def slower_first(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number * number

    squares = list(map_ordered(slower_first, range(20), threads=4, ahead=8))
    assert squares == [number * number for number in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_begun_than_allowed(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = map_ordered(lambda number: number, items(), threads=threads, ahead=5)
    assert taken == []
    assert next(results) == 0
    assert len(taken) <= 6
    assert list(results) == list(range(1, 50))


def test_an_error_is_raised_where_its_result_would_be_and_ends_the_threads() -> None:
    before = set(threading.enumerate())

    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = map_ordered(fail_at_three, range(10), threads=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert set(threading.enumerate()) <= before


def test_closing_early_ends_the_threads() -> None:
    before = set(threading.enumerate())
    results = map_ordered(lambda number: number, range(1000), threads=3, ahead=6)
    next(results)
    results.close()
    assert set(threading.enumerate()) <= before


def test_closing_early_tells_who_is_still_working() -> None:
    stopping = threading.Event()

    def wait_long(number: int) -> bool:
        return number == 0 or stopping.wait(60)

    start = time.monotonic()
    results = map_ordered(wait_long, range(9), threads=3, ahead=6, stopping=stopping)
    assert next(results)
    results.close()
    assert time.monotonic() - start < 30


def test_at_least_one_core() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
