"""Who may come in: accounts, sessions of a browser, tokens of a program, and what each role may do."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, bindparam, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.roles import ROLES, Role
from dermsentry.clinic.store.passwords import LONGEST_PASSWORD, hash_password, is_password
from dermsentry.clinic.store.tables import Account, SignIn, Token, now
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

SESSION = timedelta(hours=12)
IDLE = timedelta(minutes=60)
NOTED = timedelta(minutes=1)
RESERVED = frozenset({"system", "worker", "terminal"})
"""Who else acts in the audit trail: no account's name."""
Due = Literal["", "password", "second-factor"]
"""What a person must do before anything else: choose a password, or set up a second factor."""

_NAME = re.compile(rf"[a-z0-9][a-z0-9._@+-]{{0,{lengths.ACCOUNT - 1}}}")


@dataclass(frozen=True)
class Person:
    """Who asks: an account, through a browser or a token, and what that may do.

    `signed_in_at`: when the browser's session began, and `ends_at` when it ends at the latest; None for a
    token. `stale`: the last use of session or
    token was noted more than a minute ago, or never; noting each would be a write each. `due`: what must be
    done first, in a browser; until then the person may nothing. `language`: of the pages; empty for the
    browser's.
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
    due: Due = ""
    language: str = ""


def add_account(
    session: Session, name: str, full_name: str, role: str, password: str, *, given: bool = False
) -> Account:
    """Make an account. `given`: somebody else chose its password, which must be changed at the first sign-in.

    Raises
    ------
    InputError
        The name is taken or cannot be one, the role is none, the password is easily guessed.
    """
    name = name.strip().casefold()
    if not _NAME.fullmatch(name):
        raise InputError(
            f"Received the account name {name!r}; expected 1 to {lengths.ACCOUNT} letters, digits "
            "and . _ @ + -."
        )
    if name in RESERVED:
        raise InputError(f"Received the account name {name}, which the audit trail uses; choose another one.")
    if role not in ROLES:
        raise InputError(f"Received the role {role!r}; expected one of {', '.join(ROLES)}.")
    full_name = clean(full_name)
    if not full_name:
        raise InputError("Received no full name; it is shown with each decision.")
    if session.scalar(select(Account.id).where(Account.name == name)) is not None:
        raise InputError(f"There is an account {name} already.")
    account = Account(
        name=name,
        full_name=full_name[: lengths.FULL_NAME],
        role=role,
        password_hash=hash_password(password, name, full_name),
        password_given=given,
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError:  # PostgreSQL: another one of this name at the same moment
        raise InputError(f"There is an account {name} already.") from None
    return account


def has_accounts(session: Session) -> bool:
    """Whether the first account was made."""
    return bool(session.scalar(select(func.count()).select_from(Account)))


def check_password(session: Session, name: str, password: str) -> Account | None:
    """The active account of this name and password, or None; it takes as long where there is none."""
    name = name.strip().casefold()
    account = None
    if _NAME.fullmatch(name) and len(password) <= LONGEST_PASSWORD:
        account = session.scalar(select(Account).where(Account.name == name))
    right = is_password(account, password)
    return account if right and account is not None and account.active else None


def new_hash(account: Account, password: str) -> str:
    """The hash of a new password for an account; made before anything is written, since it takes a while.

    Raises
    ------
    InputError
        The account has no password, or this one is easily guessed, or the one that an administrator gave.
    """
    if account.openid_issuer is not None:
        raise InputError(f"The account {account.name} has no password: it signs in through a provider.")
    if account.password_given and is_password(account, password):
        raise InputError("Received the password that was given to you; choose one of your own.")
    return hash_password(password, account.name, account.full_name)


def set_password(session: Session, account: Account, hashed: str, *, given: bool) -> None:
    """Give an account a new password; its sessions end. `given`: it must be changed at the next sign-in."""
    account.password_hash, account.password_given = hashed, given
    sign_out_everywhere(session, account.id)


def account_of(session: Session, name: str) -> Account:
    """The account of a name. Raises InputError where there is none."""
    name = name.strip().casefold()
    found = session.scalar(select(Account).where(Account.name == name)) if _NAME.fullmatch(name) else None
    if found is None:
        raise InputError(f"There is no account {name}.")
    return found


def openid_account(session: Session, issuer: str, subject: str) -> Account | None:
    """The account of a person at an OpenID provider."""
    return session.scalar(
        select(Account).where(Account.openid_issuer == issuer, Account.openid_subject == subject)
    )


def add_openid_account(
    session: Session, issuer: str, subject: str, name: str, full_name: str, role: Role
) -> Account:
    """Make an account for a person at an OpenID provider, of a free name like `name`.

    It is never an account that there was: whose name somebody has elsewhere says nothing about who they are.
    """
    plain = re.sub(r"[^a-z0-9._@+-]+", "-", unicodedata.normalize("NFKD", name).casefold()).strip("._@+-")
    plain = plain[: lengths.ACCOUNT - 5] or "person"
    taken = set(session.scalars(select(Account.name).where(Account.name.startswith(plain, autoescape=True))))
    candidates = (plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3)))
    free = next(own for own in candidates if own not in taken and own not in RESERVED)
    account = Account(
        name=free,
        full_name=(clean(full_name) or free)[: lengths.FULL_NAME],
        role=role,
        password_hash="",
        openid_issuer=issuer,
        openid_subject=subject,
    )
    session.add(account)
    session.flush()
    return account


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


# Made once, of the tables: every request of a page asks it, and no objects are made of the rows.
_ACCOUNTS, _SIGN_INS = Account.__table__, SignIn.__table__.c
_SIGNED_IN = (
    select(
        _ACCOUNTS,
        _SIGN_INS.csrf,
        _SIGN_INS.seen_at,
        _SIGN_INS.expires_at,
        _SIGN_INS.created_at.label("signed_in_at"),
    )
    .join_from(SignIn.__table__, _ACCOUNTS)
    .where(_SIGN_INS.id == bindparam("digest"))
)


def person_of_cookie(session: Session, secret: str, two_factors: Collection[str] = ()) -> Person | None:
    """Who a cookie belongs to, unless the session ended, was idle for too long, or the account was closed.

    `two_factors`: the roles that need a second factor.
    """
    found = session.execute(_SIGNED_IN, {"digest": _digest(secret)}).first()
    if found is None or not found.active:
        return None
    moment = now()
    if moment >= found.expires_at or moment - found.seen_at >= IDLE:
        return None
    due = due_of(found, two_factors)
    may: frozenset[str] = frozenset() if due else MAY[found.role]
    person = _person(found, may, moment - found.seen_at >= NOTED, found.csrf, found.signed_in_at)
    return replace(person, ends_at=found.expires_at, due=due, language=found.language)


def due_of(account: Account | Row[Any], two_factors: Collection[str]) -> Due:
    """What the account's owner must do before anything else."""
    if account.password_given:
        return "password"
    local = account.openid_issuer is None  # a provider asks for second factors itself
    return "second-factor" if local and account.role in two_factors and not account.totp_secret else ""


def seen(session: Session, secret: str) -> None:
    """Note that a session is in use."""
    found = session.get(SignIn, _digest(secret))
    if found is not None:
        found.seen_at = now()


def sign_out(session: Session, secret: str) -> None:
    """End a session."""
    session.execute(delete(SignIn).where(SignIn.id == _digest(secret)))


def sign_out_everywhere(session: Session, account_id: int) -> None:
    """End every session of an account, as after a new password or second factor."""
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


def _person(
    account: Account | Row[Any],
    may: frozenset[str],
    stale: bool,
    csrf: str = "",
    signed_in_at: datetime | None = None,
) -> Person:
    return Person(account.id, account.name, account.full_name, account.role, may, csrf, signed_in_at, stale)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
