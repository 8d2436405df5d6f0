"""Messages about alerts, to people by e-mail and to programs by webhook.

A message holds a case's number and a link to it, and nothing else; one that follows another of the same case
says what happened to the case: that it was corrected, amended, withdrawn, restored, or an amendment undone.
What is due to one person at the same time goes as one e-mail. What could not be sent is tried again with
growing pauses; after `MOST_TRIES` it is dead, is shown, and can be sent again by a person.

A process claims a message before it sends it, so that no two send it at the same time. One that was killed
between sending and noting it leaves the claim to run out; the message then goes out a second time, with the
same `Message-ID` or `Dermsentry-Delivery`, by which its receiver can tell.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import httpx
from sqlalchemy import or_, select, true
from sqlalchemy.orm import Session, aliased, joinedload

from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.language import choose, lazy, ngettext, read_by
from dermsentry.clinic.settings import Secrets, Settings
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import DatabaseError, writing
from dermsentry.clinic.store.events import (
    MessageEvent,
    MessageGivenUpEvent,
    MessageNotSentEvent,
    MessageQueuedAgainEvent,
    MessageSentEvent,
)
from dermsentry.clinic.store.tables import LARGEST_ID, Alert, Delivery, now
from dermsentry.clinic.waiting import wait_for
from dermsentry.errors import InputError, OutputError

SMTP_PASSWORD, WEBHOOK_SECRET = "DERMSENTRY_SMTP_PASSWORD", "DERMSENTRY_WEBHOOK_SECRET"
SHORTEST_SECRET = 16
MOST_TRIES = 12
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 7200.0
"""Twelve tries with these pauses take about ten hours: a mail server may be away for a night."""
STEP_S, LIMIT_S = 10.0, 60.0
"""How long one step of a conversation may take, and all of it."""
CLAIM = timedelta(minutes=5)
MOST_TOGETHER = 200
"""Messages in one e-mail."""
LOOK_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A message in one process's hands; `attempt` is its number, and tells whether the claim still holds.

    `others` are sent with it, in one e-mail to the same person.
    """

    delivery_id: int
    case_id: int
    channel: str
    address: str
    raised_at: datetime
    attempt: int
    change: str = ""
    others: tuple[Claimed, ...] = ()

    @property
    def all(self) -> tuple[Claimed, ...]:
        """It and the others, the earliest first."""
        return (self, *self.others)


def read_secrets(settings: Settings) -> Secrets:
    """The secrets that the settings need, from the environment.

    Raises
    ------
    InputError
        One is missing, is too short, or would be sent readable.
    """
    mail, given = settings.mail, Secrets()
    if mail.user and not given.smtp_password:
        raise InputError(f"The settings name a user for the mail server; set {SMTP_PASSWORD} too.")
    if mail.user and not mail.starttls and mail.host not in ("localhost", "127.0.0.1", "::1"):
        raise InputError(
            f"The password for the mail server {mail.host} would be sent unencrypted; set starttls = true."
        )
    if settings.webhooks and len(given.webhook_secret) < SHORTEST_SECRET:
        raise InputError(
            f"The settings name webhooks; set {WEBHOOK_SECRET} to at least {SHORTEST_SECRET} characters "
            "that their receiver knows too."
        )
    return given


def deliver(clinic: Clinic, secrets: Secrets, channel: str | None = None) -> bool:
    """Send the one message that is due first, of one channel where it is named; whether there was one.

    Raises
    ------
    DatabaseError, OutputError
        The database is away or full; a message that was claimed is tried again later.
    """
    with writing(clinic.engine) as session:
        claimed = claim(session, channel, timedelta(minutes=clinic.settings.mail.digest_minutes))
    if claimed is None:
        return False
    problem = _send(claimed, clinic.settings, secrets)
    with writing(clinic.engine) as session:
        for own in claimed.all:
            settle(session, clinic, own, problem)
    return True


def claim(session: Session, channel: str | None = None, quiet: timedelta = timedelta(0)) -> Claimed | None:
    """Take a message that is due, those tried least first, or None. In a writing transaction of its own.

    Of e-mails, with all others that are due to the same person. `quiet`: who was sent an e-mail is sent no
    other for so long; what is due meanwhile is in the next one.
    """
    moment = now()
    lately = aliased(Delivery)
    sent = select(lately.id).where(
        lately.address == Delivery.address,
        lately.channel == "email",
        lately.state == "sent",
        lately.sent_at > moment - quiet,
    )
    found = session.scalars(
        select(Delivery)
        .where(Delivery.state.in_(("pending", "sending")), Delivery.next_at <= moment)
        .where(Delivery.channel == channel if channel else true())
        .where(or_(Delivery.channel != "email", ~sent.exists()) if quiet else true())
        .order_by(Delivery.attempts, Delivery.next_at, Delivery.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if found is None:
        return None
    others: Sequence[Delivery] = ()
    if found.channel == "email":
        others = session.scalars(
            select(Delivery)
            .where(Delivery.state.in_(("pending", "sending")), Delivery.next_at <= moment)
            .where(Delivery.channel == "email", Delivery.address == found.address, Delivery.id != found.id)
            .where(Delivery.escalation == found.escalation)
            .order_by(Delivery.id)
            .limit(MOST_TOGETHER - 1)
            .with_for_update(skip_locked=True)
        ).all()
    taken = []
    for own in (found, *others):
        alert = session.get_one(Alert, own.alert_id)
        own.state = "sending"
        own.next_at = moment + CLAIM
        own.attempts += 1
        told = (own.channel, own.address, alert.raised_at, own.attempts, own.change)
        taken.append(Claimed(own.id, alert.case_id, *told))
    return replace(taken[0], others=tuple(taken[1:]))


def settle(session: Session, clinic: Clinic, claimed: Claimed, problem: str) -> None:
    """Note how sending went; `problem` is empty where it went well. Nothing where the claim ran out."""
    found = session.scalars(
        select(Delivery).where(Delivery.id == claimed.delivery_id).with_for_update()
    ).first()
    if found is None or found.state != "sending" or found.attempts != claimed.attempt:
        return
    found.error = problem
    told = (claimed.case_id, found.id, found.channel, claimed.attempt)
    event: MessageEvent
    if not problem:
        found.state, found.sent_at = "sent", now()
        event = MessageSentEvent(*told)
    elif claimed.attempt >= MOST_TRIES:
        found.state = "dead"
        event = MessageGivenUpEvent(*told, problem)
    else:
        found.state, found.next_at = "pending", now() + pause(claimed.attempt)
        event = MessageNotSentEvent(*told, problem)
    append(session, clinic.trail, "system", event)


def pause(attempt: int) -> timedelta:
    """How long to wait after the attempt of this number, from 1: doubled each time, less up to half of it at
    random, so that what failed together does not come again together."""
    whole = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1))
    return timedelta(seconds=whole * random.uniform(0.5, 1.0))


def dead_letters(session: Session) -> tuple[Delivery, ...]:
    """The messages that were given up, the latest first."""
    return tuple(
        session.scalars(
            select(Delivery)
            .options(joinedload(Delivery.alert))
            .where(Delivery.state == "dead")
            .order_by(Delivery.id.desc())
            .limit(200)
        )
    )


def send_again(session: Session, clinic: Clinic, delivery_id: int, actor: str) -> None:
    """Queue a message that was given up again.

    Raises
    ------
    InputError
        There is none of this number, or it was not given up.
    """
    wanted = select(Delivery).where(Delivery.id == delivery_id).with_for_update()
    found = session.scalars(wanted).first() if 0 < delivery_id <= LARGEST_ID else None
    if found is None or found.state != "dead":
        raise InputError(f"There is no message {delivery_id} that was given up.")
    found.state, found.attempts, found.next_at = "pending", 0, now()
    alert = session.get_one(Alert, found.alert_id)
    append(session, clinic.trail, actor, MessageQueuedAgainEvent(alert.case_id, found.id))


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of a webhook's header `Dermsentry-Signature`: `t=TIMESTAMP,v1=HEX`.

    HEX is the HMAC-SHA-256 (RFC 2104), by the secret, of the timestamp in decimal (seconds since 1970, UTC),
    a full stop, and the body as it came.
    """
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def run_deliveries(
    url: str, folder: Path, settings: Settings, channel: str, stopped: Callable[[], bool]
) -> None:
    """Send what is due on a channel until told to stop; a database that is away is waited for."""
    clinic, secrets = open_clinic(url, folder, settings), read_secrets(settings)
    while not stopped():
        try:
            if deliver(clinic, secrets, channel):
                continue
        except (DatabaseError, OutputError) as error:
            log.error("%s Messages wait.", error)
        wait_for(LOOK_S, stopped)


def _send(claimed: Claimed, settings: Settings, secrets: Secrets) -> str:
    """Send a message; what went wrong, in words that hold neither address nor secret."""
    cases = f"{settings.link.rstrip('/')}/cases"
    link = f"{cases}/{claimed.case_id}"
    told: list[str] = []

    def send() -> None:
        if claimed.channel == "email":
            told.append(_send_email(claimed, settings, secrets.smtp_password, cases))
        else:
            told.append(_send_webhook(claimed, secrets.webhook_secret, link))

    # A thread, because a server that answers a byte at a time would keep within every limit but this one.
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(LIMIT_S)
    if told:
        return told[0]
    return f"no answer within {LIMIT_S:g} s" if sender.is_alive() else "failed; the log says more"


def _send_email(claimed: Claimed, settings: Settings, password: str, cases: str) -> str:
    mail = settings.mail
    message = EmailMessage()
    message["From"], message["To"] = mail.sender, claimed.address
    changes = {own.case_id: own.change for own in sorted(claimed.all, key=lambda own: own.delivery_id)}
    with read_by(choose("", "", settings.language, settings.timezone)):
        subject, text = _worded(changes, cases)
    message["Subject"] = subject
    message["Date"] = format_datetime(now())
    # The same each time it is tried, and never that of another clinic's or an earlier database's message.
    unique = f"{claimed.delivery_id}.{claimed.raised_at.timestamp():.6f}"
    if claimed.others:
        ids = ".".join(str(own.delivery_id) for own in claimed.all)
        unique += f".{hashlib.sha256(ids.encode()).hexdigest()[:16]}"
    message["Message-ID"] = f"<{unique}@{mail.sender.partition('@')[2]}>"
    message.set_content(text)
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=STEP_S) as server:
            if mail.starttls:
                server.starttls(context=ssl.create_default_context())
            if mail.user:
                server.login(mail.user, password)
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        return f"the mail server refused the address ({', '.join(codes)})"
    except smtplib.SMTPResponseException as error:
        return f"the mail server answered {error.smtp_code}"
    except smtplib.SMTPException as error:
        return f"the mail server cannot be used ({type(error).__name__})"
    except OSError as error:
        return f"the mail server cannot be reached ({error.strerror or type(error).__name__})"
    return ""


_SUBJECTS = {
    "": lazy("case %(number)s"),
    "corrected": lazy("case %(number)s corrected"),
    "amended": lazy("case %(number)s amended"),
    "amendment-undone": lazy("amendment of case %(number)s undone"),
    "withdrawn": lazy("case %(number)s withdrawn"),
    "restored": lazy("case %(number)s restored"),
}
_LINES = {
    "": lazy("Case %(number)s"),
    "amended": lazy("Case %(number)s was amended after you were notified of it"),
    "amendment-undone": lazy("The amendment of case %(number)s was undone after you were notified of it"),
    "corrected": lazy("Case %(number)s was corrected after you were notified of it"),
    "withdrawn": lazy("Case %(number)s was withdrawn after you were notified of it"),
    "restored": lazy("Case %(number)s was restored after you were notified of it"),
}
"""Of how a case changed since it was told of: the subject of an e-mail, and a line of it."""


def _worded(changes: Mapping[int, str], cases: str) -> tuple[str, str]:
    """The subject and the text of an e-mail."""
    told = ngettext("%(number)s case", "%(number)s cases", len(changes))
    if len(changes) == 1:
        [(number, change)] = changes.items()
        told = str(_SUBJECTS[change]) % {"number": number}
    lines = [str(_LINES[change]) % {"number": number} for number, change in changes.items()]
    text = "\n".join(f"{line}\n{cases}/{number}\n" for line, number in zip(lines, changes, strict=True))
    return f"Dermsentry: {told}", text


def _send_webhook(claimed: Claimed, secret: str, link: str) -> str:
    change = {"change": claimed.change} if claimed.change else {}
    body = json.dumps({"case": claimed.case_id, "link": link, **change}).encode()
    headers = {
        "Content-Type": "application/json",
        "Dermsentry-Delivery": f"{claimed.delivery_id}.{claimed.raised_at.timestamp():.6f}",
        "Dermsentry-Signature": signature(secret, int(time.time()), body),
        "User-Agent": "dermsentry",
    }
    try:
        # Whoever answers is not followed elsewhere, and what they answer is not read.
        with (
            httpx.Client(timeout=STEP_S, follow_redirects=False) as client,
            client.stream("POST", claimed.address, content=body, headers=headers) as response,
        ):
            return "" if response.is_success else f"answered {response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"cannot be reached ({type(error).__name__})"
