"""Codes of a phone count once, in their time; recovery codes once; what is kept does not give them away."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import Engine, select

from dermsentry.clinic.store import second_factor
from dermsentry.clinic.store.accounts import add_account
from dermsentry.clinic.store.audit_trail import Trail, open_trail
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.second_factor import (
    RECOVERY_CODES,
    is_code,
    is_recovery_code,
    new_recovery_codes,
    new_secret,
    phone_address,
    recovery_codes_left,
    remove,
    set_up,
)
from dermsentry.clinic.store.tables import Account, RecoveryCode, now
from dermsentry.errors import InputError

STEP = timedelta(seconds=30)
SECRET = new_secret()


class Clock:
    """The server's time, to be moved."""

    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> object:
        return self.moment

    def code(self, steps: int = 0) -> str:
        return pyotp.TOTP(SECRET).at(self.moment + steps * STEP)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(second_factor, "now", made)
    return made


@pytest.fixture
def anna(engine: Engine, trail: Trail, clock: Clock) -> int:
    with writing(engine) as session:
        account = add_account(session, "anna", "Anna", "dermatologist", "calm clinical garden")
        set_up(session, trail, account, SECRET, clock.code())
        return account.id


def right(engine: Engine, trail: Trail, anna: int, code: str) -> bool:
    with writing(engine) as session:
        return is_code(session, trail, session.get_one(Account, anna), code)


def test_each_code_counts_once_and_none_before_it(
    engine: Engine, trail: Trail, anna: int, clock: Clock
) -> None:
    assert not right(engine, trail, anna, clock.code())  # it was shown when the phone was set up
    clock.moment += STEP
    code = clock.code()
    assert not right(engine, trail, anna, f"{int(code) ^ 1:06}")
    assert right(engine, trail, anna, f" {code[:3]} {code[3:]} ")  # as apps show it
    assert not right(engine, trail, anna, code)
    assert not right(engine, trail, anna, clock.code(-1))
    clock.moment += STEP
    assert right(engine, trail, anna, clock.code())


def test_a_clock_may_be_off_by_one_step_and_no_more(
    engine: Engine, trail: Trail, anna: int, clock: Clock
) -> None:
    clock.moment += 10 * STEP
    assert not right(engine, trail, anna, clock.code(-2))
    assert not right(engine, trail, anna, clock.code(2))
    assert right(engine, trail, anna, clock.code(-1))
    assert right(engine, trail, anna, clock.code(1))
    assert not right(engine, trail, anna, clock.code())  # the later one came first


@pytest.mark.parametrize("code", ["", "0", "١٢٣٤٥٦", "\udcff", "1" * 10_000, "\0", "abcdef"])
def test_what_is_no_code_is_not_right(
    engine: Engine, trail: Trail, anna: int, clock: Clock, code: str
) -> None:
    clock.moment += STEP
    assert not right(engine, trail, anna, code)
    with writing(engine) as session:
        assert not is_recovery_code(session, anna, code)


def test_of_many_that_send_one_code_at_once_one_gets_in(
    engine: Engine, trail: Trail, anna: int, clock: Clock
) -> None:
    clock.moment += STEP
    start, found = threading.Barrier(4), []

    def send() -> None:
        start.wait()
        found.append(right(engine, trail, anna, clock.code()))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, False, True]


def test_a_phone_is_taken_once_it_has_shown_its_code(engine: Engine, trail: Trail, clock: Clock) -> None:
    with writing(engine) as session:
        account = add_account(session, "ben", "Ben", "uploader", "calm clinical garden")
        with pytest.raises(InputError, match="does not fit"):
            set_up(session, trail, account, SECRET, clock.code(5))
        assert account.totp_secret is None
        assert recovery_codes_left(session, account.id) == 0
        assert not is_code(session, trail, account, clock.code())


def test_recovery_codes_count_once_and_new_ones_replace_old_ones(engine: Engine, anna: int) -> None:
    with writing(engine) as session:
        old = new_recovery_codes(session, anna)
        codes = new_recovery_codes(session, anna)
        assert len(set(codes)) == RECOVERY_CODES
        session.flush()
        assert not any(is_recovery_code(session, anna, code) for code in old)
        assert is_recovery_code(session, anna, codes[0].upper().replace("-", " "))
        assert not is_recovery_code(session, anna, codes[0])
        assert not is_recovery_code(session, anna + 1, codes[1])  # another's
        assert recovery_codes_left(session, anna) == RECOVERY_CODES - 1
        kept = session.scalars(select(RecoveryCode.hash)).all()
        assert not any(code in own or code.replace("-", "") in own for code in codes for own in kept)
        remove(session, session.get_one(Account, anna))
        assert not is_recovery_code(session, anna, codes[1])


def test_the_database_alone_does_not_give_codes_away(
    engine: Engine, trail: Trail, anna: int, clock: Clock, tmp_path: Path
) -> None:
    with writing(engine) as session:
        kept = session.get_one(Account, anna).totp_secret
        assert kept is not None
        assert SECRET not in kept
    clock.moment += STEP
    with pytest.raises(InputError, match="another data folder"):
        right(engine, open_trail(tmp_path / "another"), anna, clock.code())
    assert right(engine, trail, anna, clock.code())


def test_the_phone_is_told_whose_codes_they_are() -> None:
    assert phone_address("anna", SECRET).startswith(
        f"otpauth://totp/Dermsentry:anna?secret={SECRET}&issuer=Dermsentry"
    )
