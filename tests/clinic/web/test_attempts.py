"""Who may try to sign in how often: guessing ends, and nobody shuts another out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dermsentry.clinic.web.attempts import (
    ATTEMPTS,
    ATTEMPTS_OF_ACCOUNT,
    ATTEMPTS_OF_ADDRESS,
    MOST_REMEMBERED,
    WINDOW_S,
    Attempts,
    Gate,
    Visitor,
    in_words,
    network,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def test_who_failed_too_often_must_wait(clock: list[float]) -> None:
    attempts = Attempts()
    for _ in range(ATTEMPTS):
        assert attempts.enter("anna") == 0
    assert attempts.enter("anna") > 250
    assert attempts.enter("ben") == 0
    clock[0] += WINDOW_S + 1
    for _ in range(ATTEMPTS):
        assert attempts.enter("anna") == 0
    attempts.clear("anna")
    assert attempts.enter("anna") == 0


def test_names_that_a_stranger_made_up_push_no_count_out(clock: list[float]) -> None:
    attempts = Attempts()
    for _ in range(ATTEMPTS):
        attempts.enter("anna")
    for i in range(MOST_REMEMBERED + 1000):
        attempts.enter(f"made up {i}")
    assert len(attempts.failed) <= MOST_REMEMBERED
    assert attempts.enter("anna") > 0


def test_of_many_attempts_at_once_no_more_are_let_in() -> None:
    attempts = Attempts()
    with ThreadPoolExecutor(20) as pool:
        waits = list(pool.map(lambda _: attempts.enter("anna"), range(100)))
    assert waits.count(0) == ATTEMPTS
    attempts.take_back("anna")
    assert attempts.enter("anna") == 0
    assert attempts.enter("anna") > 0


def test_an_outsider_cannot_shut_the_owner_out(clock: list[float]) -> None:
    gate = Gate()
    for number in range(4 * ATTEMPTS_OF_ACCOUNT):  # from as many addresses as it takes
        gate.enter(Visitor("ada", f"198.51.{number // 250}.{number % 250}"))
    assert gate.enter(Visitor("ada", "203.0.113.7")) > 3600  # a stranger to the account, from another address
    assert gate.enter(Visitor("ada", "192.0.2.1"), lambda: True) == 0  # where she has signed in before
    assert gate.enter(Visitor("ada", "203.0.113.7", "her browser")) == 0  # the browser that she uses
    clock[0] += 24 * 3600 + 1
    assert gate.enter(Visitor("ada", "203.0.113.7")) == 0


def test_guessing_from_one_address_ends_and_harms_nobody_elsewhere(clock: list[float]) -> None:
    gate = Gate()
    eve = Visitor("ada", "198.51.100.1")
    assert [gate.enter(eve) for _ in range(ATTEMPTS)] == [0] * ATTEMPTS
    assert gate.enter(eve) > 0
    assert gate.enter(Visitor("ada", "192.0.2.1")) == 0
    assert gate.enter(Visitor("ben", eve.address)) == 0
    known = Visitor("ada", eve.address, "her browser")  # behind the same router
    assert gate.enter(known) == 0


def test_a_known_browser_has_few_attempts_too(clock: list[float]) -> None:
    gate = Gate()
    stolen = Visitor("ada", "198.51.100.1", "her browser")
    assert [gate.enter(stolen) for _ in range(ATTEMPTS)] == [0] * ATTEMPTS
    assert gate.enter(stolen) > 0
    assert gate.enter(Visitor("ada", "198.51.100.1", "another browser")) == 0


def test_an_attempt_that_was_not_let_in_counts_nowhere(clock: list[float]) -> None:
    gate = Gate()
    for _ in range(ATTEMPTS_OF_ADDRESS * 2):
        gate.enter(Visitor("ada", "198.51.100.1"))
    assert len(gate.addresses.failed["198.51.100.1"]) == ATTEMPTS
    assert len(gate.accounts.failed["ada"]) == ATTEMPTS


def test_success_forgets_what_failed_here_and_not_what_failed_elsewhere(clock: list[float]) -> None:
    gate = Gate()
    for number in range(10):
        gate.enter(Visitor("ada", f"198.51.100.{number}"))
    here = Visitor("ada", "192.0.2.1")
    for _ in range(ATTEMPTS):
        assert gate.enter(here) == 0
    gate.passed(here)
    assert gate.enter(here) == 0
    assert len(gate.accounts.failed["ada"]) == 10 + ATTEMPTS


def test_an_owner_of_an_ipv6_network_is_one_address() -> None:
    gate = Gate()
    waits = [gate.enter(Visitor("ada", f"2001:db8:1:2::{number:x}")) for number in range(1, 9)]
    assert [wait == 0 for wait in waits] == [True] * ATTEMPTS + [False] * 3
    assert network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network("192.0.2.1") == "192.0.2.1"
    assert network("testclient") == "testclient"


def test_the_wait_is_said_in_a_unit_that_fits() -> None:
    assert "in 5 min" in in_words(299)
    assert "in 23 h" in in_words(22 * 3600 + 1)
