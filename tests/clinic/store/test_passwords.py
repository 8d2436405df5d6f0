"""Passwords: what is easily guessed is refused, and the refusal says why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dermsentry.clinic.store.passwords import LONGEST_PASSWORD, hash_password, is_password
from dermsentry.clinic.store.tables import Account
from dermsentry.errors import InputError


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "5 characters"),
        ("x" * (LONGEST_PASSWORD + 1), "201 characters"),
        ("password1234", "common password"),
        ("P4ssw0rd1234", "commonly used password"),
        ("aaaaaaaaaaaaaaaaaaaa", "Repeats"),
        ("abcabcabcabcabc", "Repeats"),
        ("qwertyuiop[]", "easily guessed"),
        ("123456789012", "easily guessed"),
        ("melanomamelanoma", "Repeats"),
        ("Hautklinik2026", "easily guessed"),
        ("anna.mueller1", "easily guessed"),
        ("Müller-Brandt", "easily guessed"),
        ("dermsentry123", "easily guessed"),
        ("qwertzuiopasdfgh"[:12] + "1", "easily guessed"),
    ],
)
def test_a_password_that_is_easily_guessed_is_refused_with_the_reason(password: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        hash_password(password, "anna.mueller", "Dr Anna Müller-Brandt")
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "calm clinical garden",
        "schöne lange Wörter",
        "tXq9-vv2m-Lk0p",
        "x7" + "calm garden " * 16,
        "密码很长但是很难猜到吗真的",
    ],
)
def test_a_password_that_is_hard_to_guess_is_taken(password: str) -> None:
    hashed = hash_password(password, "anna.mueller", "Dr Anna Müller-Brandt")
    assert hashed.startswith("$argon2id$")
    account = Account(name="anna", full_name="Anna", role="uploader", password_hash=hashed)
    assert is_password(account, password)
    assert not is_password(account, password + "x")


def test_an_account_without_a_password_has_none_that_is_right() -> None:
    account = Account(name="anna", full_name="Anna", role="uploader", password_hash="")
    assert not is_password(account, "")
    assert not is_password(None, "")


def test_words_near_to_one_person_are_not_held_against_another() -> None:
    password = "zwieselberger"

    def judge(near: str) -> bool:
        try:
            hash_password(password, near)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(judge, ["zwieselberger", "someone else"] * 12))
    assert found == [False, True] * 12
