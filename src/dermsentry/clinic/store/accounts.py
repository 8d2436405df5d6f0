"""Who may come in: accounts, sessions of a browser, tokens of a program, and what each role may do."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from threading import BoundedSemaphore, Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.store.tables import ROLES, Account, SignIn, Token, now
from dermsentry.clinic.store.text import clean
from dermsentry.errors import InputError

SCOPES = ("cases:write", "cases:read", "reads:write", "outcomes:write", "correct", "audit:read")
"""What a token can be made for; it never reaches further than its owner's role."""
MAY: dict[str, frozenset[str]] = {
    "uploader": frozenset({"cases:write"}),
    "dermatologist": frozenset({"cases:write", "cases:read", "reads:write", "outcomes:write", "correct"}),
    "administrator": frozenset({*SCOPES, "administer"}),
}
"""What each role may do; each may all that the one before may."""

SHORTEST_PASSWORD = 12  # NIST SP 800-63B asks for 8 at least, and for no rules about its letters
LONGEST_PASSWORD = 200
SESSION = timedelta(hours=12)
IDLE = timedelta(minutes=60)
NOTED = timedelta(minutes=1)
ATTEMPTS, WINDOW_S, MOST_REMEMBERED = 5, 300, 10_000

_hasher = PasswordHasher()
_hashing = BoundedSemaphore(4)
"""Each hash takes 64 MiB while it is made; strangers could ask for many at once."""
_NAME = re.compile(rf"[a-z0-9][a-z0-9._@+-]{{0,{lengths.ACCOUNT - 1}}}")


@dataclass(frozen=True)
class Person:
    """Who asks: an account, through a browser or a token, and what that may do.

    `signed_in_at`: when the browser's session began, and `ends_at` when it ends at the latest; None for a
    token. `stale`: the last use of session or
    token was noted more than a minute ago, or never; noting each would be a write each.
    """

    account_id: int
    name: str
    full_name: str
    role: str
    may: frozenset[str]
    csrf: str = ""
    signed_in_at: datetime | None = None
    stale: bool = False
    ends_at: datetime | None = None


def add_account(session: Session, name: str, full_name: str, role: str, password: str) -> Account:
    """Make an account.

    Raises
    ------
    InputError
        The name is taken or cannot be one, the role is none, the password is too short or too long.
    """
    name = name.strip().casefold()
    if not _NAME.fullmatch(name):
        raise InputError(
            f"Received the account name {name!r}; expected 1 to {lengths.ACCOUNT} letters, digits "
            "and . _ @ + -."
        )
    if role not in ROLES:
        raise InputError(f"Received the role {role!r}; expected one of {', '.join(ROLES)}.")
    full_name = clean(full_name)
    if not full_name:
        raise InputError("Received no full name; it is shown with each decision.")
    if session.scalar(select(Account.id).where(Account.name == name)) is not None:
        raise InputError(f"There is an account {name} already.")
    account = Account(
        name=name, full_name=full_name[: lengths.FULL_NAME], role=role, password_hash=hash_password(password)
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError:  # PostgreSQL: another one of this name at the same moment
        raise InputError(f"There is an account {name} already.") from None
    return account


def hash_password(password: str) -> str:
    """A password's Argon2id hash. Raises InputError where it is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(
            f"Received a password of {len(password)} characters; expected {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}. Several words are easy to remember."
        )
    with _hashing:
        return _hasher.hash(_bytes(password))


def has_accounts(session: Session) -> bool:
    """Whether the first account was made."""
    return bool(session.scalar(select(func.count()).select_from(Account)))


def check_password(session: Session, name: str, password: str) -> Account | None:
    """The active account of this name and password, or None; it takes as long where there is none."""
    name = name.strip().casefold()
    account = None
    if _NAME.fullmatch(name) and len(password) <= LONGEST_PASSWORD:
        account = session.scalar(select(Account).where(Account.name == name))
    try:
        with _hashing:
            expected = account.password_hash if account else _nobody()
            _hasher.verify(expected, _bytes(password[:LONGEST_PASSWORD]))
    except (VerificationError, InvalidHashError):
        return None
    return account if account is not None and account.active else None


def renew_hash(account: Account, password: str) -> None:
    """Hash a password that was right again, if its hash was made with weaker parameters than today's."""
    if _hasher.check_needs_rehash(account.password_hash):
        account.password_hash = _hasher.hash(_bytes(password))


def sign_in(session: Session, account: Account) -> str:
    """Begin a session; the cookie's value, which is kept nowhere."""
    secret = secrets.token_urlsafe(32)
    session.add(
        SignIn(
            id=_digest(secret),
            account_id=account.id,
            csrf=secrets.token_urlsafe(32),
            expires_at=now() + SESSION,
        )
    )
    return secret


def person_of_cookie(session: Session, secret: str) -> Person | None:
    """Who a cookie belongs to, unless the session ended, was idle for too long, or the account was closed."""
    found = session.get(SignIn, _digest(secret))
    if found is None or not found.account.active:
        return None
    moment = now()
    if moment >= found.expires_at or moment - found.seen_at >= IDLE:
        return None
    may, stale = MAY[found.account.role], moment - found.seen_at >= NOTED
    person = _person(found.account, may, stale, found.csrf, found.created_at)
    return replace(person, ends_at=found.expires_at)


def seen(session: Session, secret: str) -> None:
    """Note that a session is in use."""
    found = session.get(SignIn, _digest(secret))
    if found is not None:
        found.seen_at = now()


def sign_out(session: Session, secret: str) -> None:
    """End a session."""
    session.execute(delete(SignIn).where(SignIn.id == _digest(secret)))


def sign_out_everywhere(session: Session, account_id: int) -> None:
    """End every session of an account, as after a new password."""
    session.execute(delete(SignIn).where(SignIn.account_id == account_id))


def forget_old_sessions(session: Session) -> None:
    """Remove sessions that ended."""
    moment = now()
    session.execute(delete(SignIn).where((SignIn.expires_at < moment) | (SignIn.seen_at < moment - IDLE)))


def add_token(
    session: Session, account: Account, label: str, scopes: Iterable[str], expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Make a token, and its secret, which is shown once and kept nowhere.

    Raises
    ------
    InputError
        A scope is none, or the account's role does not reach it; the label is empty.
    """
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise InputError(
            f"Received the scopes {', '.join(wanted) or 'none'}; expected some of {', '.join(SCOPES)}."
        )
    beyond = [scope for scope in wanted if scope not in MAY[account.role]]
    if beyond:
        raise InputError(f"The role {account.role} does not reach {', '.join(beyond)}.")
    label = clean(label)
    if not label:
        raise InputError("Received no label; it tells the token from others later.")
    secret = f"ds_{secrets.token_urlsafe(32)}"
    token = Token(
        account_id=account.id,
        label=label[: lengths.TOKEN_LABEL],
        secret_hash=_digest(secret),
        scopes=list(wanted),
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()
    return token, secret


def person_of_token(session: Session, secret: str) -> Person | None:
    """Who a token belongs to, unless it was revoked, ran out, or the account was closed."""
    token = session.scalar(select(Token).where(Token.secret_hash == _digest(secret)))
    if token is None or token.revoked_at is not None or not token.account.active:
        return None
    if token.expires_at is not None and now() >= token.expires_at:
        return None
    stale = token.used_at is None or now() - token.used_at >= NOTED
    return _person(token.account, MAY[token.account.role] & frozenset(token.scopes), stale)


def note_use(session: Session, secret: str) -> None:
    """Note that a token is in use."""
    token = session.scalar(select(Token).where(Token.secret_hash == _digest(secret)))
    if token is not None:
        token.used_at = now()


@dataclass
class Attempts:
    """How often a sign-in failed lately, by account name or by address; `most` may in `WINDOW_S` seconds."""

    most: int = ATTEMPTS
    failed: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    lock: Lock = field(default_factory=Lock)

    def enter(self, who: str) -> int:
        """Seconds until another attempt is allowed; 0 where it is now.

        Then it counts as one that failed, until it is taken back: of many at once no more are let in.
        """
        with self.lock:
            moment = time.monotonic()
            wait = self._wait(who, moment)
            if not wait:
                self.failed[who].append(moment)
                if len(self.failed) > MOST_REMEMBERED:  # names that a stranger made up
                    for other in [other for other in self.failed if not self._wait(other, moment)]:
                        if other != who:
                            del self.failed[other]
            return wait

    def take_back(self, who: str) -> None:
        """The last attempt did not fail."""
        with self.lock:
            if self.failed.get(who):
                self.failed[who].pop()

    def clear(self, who: str) -> None:
        """Forget: the sign-in succeeded."""
        with self.lock:
            self.failed.pop(who, None)

    def _wait(self, key: str, moment: float) -> int:
        times = self.failed.get(key)
        while times and moment - times[0] > WINDOW_S:
            times.popleft()
        if not times or len(times) < self.most:
            return 0
        return max(1, round(WINDOW_S - (moment - times[0])))


def _person(
    account: Account, may: frozenset[str], stale: bool, csrf: str = "", signed_in_at: datetime | None = None
) -> Person:
    return Person(account.id, account.name, account.full_name, account.role, may, csrf, signed_in_at, stale)


def _bytes(password: str) -> bytes:
    """A password as it is hashed: the same whichever keyboard wrote it (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash to check against where there is no account, so that the answer comes no sooner."""
    return _hasher.hash(secrets.token_urlsafe(32))
