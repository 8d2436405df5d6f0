"""Passwords: judged before they are taken, kept as Argon2id hashes, checked."""

from __future__ import annotations

import secrets
import unicodedata
from functools import lru_cache
from threading import BoundedSemaphore, Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dermsentry.clinic.store.tables import Account
from dermsentry.errors import InputError

SHORTEST_PASSWORD = 12  # NIST SP 800-63B asks for 8 at least, and for no rules about its letters
LONGEST_PASSWORD = 200
LEAST_SCORE = 3
"""Of zxcvbn's 0 to 4: 3 takes more than 10⁸ guesses (Wheeler, USENIX Security 2016)."""
JUDGED = 72
"""Characters that zxcvbn looks at; its time grows with them."""
NEAR = (
    "dermsentry", "melanoma", "melanom", "dermatology", "dermatologie", "dermatologist", "hautarzt", "nevus",
    "clinic", "klinik", "hautklinik", "hospital", "krankenhaus", "praxis", "worklist", "administrator",
    "passwort", "kennwort", "willkommen", "welcome",
)  # fmt: skip
"""Words that a guesser of this service's passwords tries first."""

_hasher = PasswordHasher()
_hashing = BoundedSemaphore(4)
"""Each hash takes 64 MiB while it is made; strangers could ask for many at once."""
_judging = Lock()
"""zxcvbn keeps the words near to one person where those of another would overwrite them."""


def hash_password(password: str, *near: str) -> str:
    """A new password's Argon2id hash.

    Parameters
    ----------
    near
        What belongs to the person, such as their names, and so is guessed first.

    Raises
    ------
    InputError
        The password is too short, too long or easily guessed; the error says why.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(
            f"Received a password of {len(password)} characters; expected {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}. Several words are easy to remember."
        )
    from zxcvbn import zxcvbn  # its lists take 15 MiB, which processes without passwords do without

    words = [*NEAR, *near, *(part for text in near for part in text.split())]
    with _judging:
        judged = zxcvbn(password[:JUDGED], [word for word in words if word], max_length=JUDGED)
    if judged["score"] < LEAST_SCORE:
        told = judged["feedback"]
        why = told["warning"] or "It follows a pattern that is easy to guess."
        advice = " ".join(told["suggestions"]) or "Add another word or two."
        raise InputError(f"Received a password that is easily guessed. {why} {advice}")
    with _hashing:
        return _hasher.hash(_bytes(password))


def is_password(account: Account | None, password: str) -> bool:
    """Whether this is the account's password; it takes as long where there is no account, or no password."""
    try:
        with _hashing:
            expected = (account.password_hash if account else "") or _nobody()
            return _hasher.verify(expected, _bytes(password[:LONGEST_PASSWORD]))
    except (VerificationError, InvalidHashError):
        return False


def renew_hash(account: Account, password: str) -> None:
    """Hash a password that was right again, if its hash was made with weaker parameters than today's."""
    if _hasher.check_needs_rehash(account.password_hash):
        account.password_hash = _hasher.hash(_bytes(password))


def _bytes(password: str) -> bytes:
    """A password as it is hashed: the same whichever keyboard wrote it (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash to check against where there is no account, so that the answer comes no sooner."""
    return _hasher.hash(secrets.token_urlsafe(32))
