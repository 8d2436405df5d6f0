"""What an administrator does to accounts, from a page or the terminal, with its event in the audit trail."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.accounts import add_account, set_password, sign_out_everywhere
from dermsentry.clinic.store.audit_trail import Trail, append
from dermsentry.clinic.store.events import AccountAddedEvent, PasswordGivenEvent, SecondFactorResetEvent
from dermsentry.clinic.store.second_factor import remove
from dermsentry.clinic.store.tables import Account
from dermsentry.errors import InputError

TERMINAL = "terminal"
"""Who acts in the audit trail where it was a command: whoever has the data folder."""


def open_account(
    session: Session, trail: Trail, actor: str, name: str, full_name: str, role: str, password: str
) -> Account:
    """Make an account, whose owner must change the password at the first sign-in.

    Raises
    ------
    InputError
        The name is taken or cannot be one, the role is none, the password is easily guessed.
    """
    account = add_account(session, name, full_name, role, password, given=True)
    append(session, trail, actor, AccountAddedEvent(account.name, account.role))
    return account


def give_password(session: Session, trail: Trail, actor: str, account: Account, hashed: str) -> None:
    """Give an account a password that its owner must change at the next sign-in; its sessions end."""
    set_password(session, account, hashed, given=True)
    append(session, trail, actor, PasswordGivenEvent(account.name))


def reset_second_factor(session: Session, trail: Trail, actor: str, account: Account) -> None:
    """Remove an account's second factor, as when the phone and the recovery codes are lost; its sessions end.

    Raises
    ------
    InputError
        It has none.
    """
    if account.totp_secret is None:
        raise InputError(f"The account {account.name} has no second factor.")
    remove(session, account)
    sign_out_everywhere(session, account.id)
    append(session, trail, actor, SecondFactorResetEvent(account.name))


def keep_an_administrator(session: Session) -> None:
    """See that somebody can still administer while the OpenID provider is away.

    Raises
    ------
    InputError
        There is no open account of an administrator any more that signs in with a password.
    """
    session.flush()
    query = select(func.count()).select_from(Account).where(Account.role == "administrator", Account.active)
    if not session.scalar(query.where(Account.openid_issuer.is_(None))):
        raise InputError("This is the only administrator with a password; create another one first.")
