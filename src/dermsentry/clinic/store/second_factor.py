"""The second factor: one-time codes from a phone (TOTP, RFC 6238), and recovery codes for when it is lost.

The secret that phone and server share is kept encrypted with a key derived from the audit trail's, which is
not in the database. A code is good once: the time step of the last one is kept, and only a later one counts.
Recovery codes are kept as their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

import pyotp
from cryptography.fernet import Fernet, InvalidToken
from pyotp.exceptions import OTPVerificationError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.tables import Account, RecoveryCode, now
from dermsentry.errors import InputError

ISSUER = "Dermsentry"
RECOVERY_CODES = 10
STEPS_OFF = 1
"""Time steps of 30 s that a phone's clock may be off (RFC 6238, 5.2)."""
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that are not mistaken for each other
_LENGTH = 16  # of 32 letters: 80 bits, too many to be found from a hash


def new_secret() -> str:
    """A secret for a phone, in Base32."""
    return pyotp.random_base32()


def phone_address(account: str, secret: str) -> str:
    """What the QR code says: `otpauth://totp/…`."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def set_up(session: Session, trail: Trail, account: Account, secret: str, code: str) -> list[str]:
    """Take a phone as an account's second factor, once it has shown a code; new recovery codes.

    Raises
    ------
    InputError
        The code is not one that the secret gives now.
    """
    step = _step_of(secret, code, after=None)
    if step is None:
        raise InputError(
            "Received a code that does not fit. Enter the one that the app shows now; the phone's clock must "
            "be right."
        )
    account.totp_secret = _cipher(trail).encrypt(secret.encode()).decode()
    account.totp_step = step
    return new_recovery_codes(session, account.id)


def remove(session: Session, account: Account) -> None:
    """Forget an account's second factor and its recovery codes."""
    account.totp_secret = account.totp_step = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))


def is_code(session: Session, trail: Trail, account: Account, code: str) -> bool:
    """Whether an account's phone shows this code now; then it counts no other time.

    The session must be one of `database.writing`.

    Raises
    ------
    InputError
        The secret cannot be read: the database belongs to another data folder.
    """
    if account.totp_secret is None:
        return False
    try:
        secret = _cipher(trail).decrypt(account.totp_secret.encode()).decode()
    except InvalidToken as error:
        raise InputError(
            "The second factor was kept with the key of another data folder. Use the one that belongs to the "
            f"database, or reset it: dermsentry account reset-second-factor {account.name}."
        ) from error
    step = _step_of(secret, code, after=account.totp_step)
    if step is None:
        return False
    # Of two that send one code at once, the second finds the step taken.
    earlier = or_(Account.totp_step.is_(None), Account.totp_step < step)
    taken = session.execute(
        update(Account).where(Account.id == account.id, earlier).values(totp_step=step).returning(Account.id)
    )
    return taken.scalar() is not None


def is_recovery_code(session: Session, account_id: int, code: str) -> bool:
    """Whether this is a recovery code of an account that was not used; then it is. Within `writing`."""
    taken = session.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.account_id == account_id,
            RecoveryCode.hash == _digest(code),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now())
        .returning(RecoveryCode.id)
    )
    return taken.scalar() is not None


def new_recovery_codes(session: Session, account_id: int) -> list[str]:
    """New recovery codes in place of an account's old ones; they are kept nowhere."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
    codes = [_grouped(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(account_id=account_id, hash=_digest(code)) for code in codes)
    return codes


def recovery_codes_left(session: Session, account_id: int) -> int:
    """How many recovery codes of an account were not used."""
    query = select(func.count()).select_from(RecoveryCode)
    found = session.scalar(query.where(RecoveryCode.account_id == account_id, RecoveryCode.used_at.is_(None)))
    return found or 0


def _step_of(secret: str, code: str, *, after: int | None) -> int | None:
    """The time step whose code this is, if it is one of now and later than `after`."""
    code = re.sub(r"[\s-]", "", code)
    if not code.isascii():
        return None
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(code, for_time=now(), valid_window=STEPS_OFF)
    except OTPVerificationError:
        return None
    return step if after is None or step > after else None


def _grouped(letters: Iterable[str]) -> str:
    text = "".join(letters)
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _digest(code: str) -> str:
    plain = re.sub(r"[\s-]", "", code).casefold()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def _cipher(trail: Trail) -> Fernet:
    key = hmac.new(trail.key, b"secrets of second factors", hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(key))
