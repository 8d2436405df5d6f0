"""Messages reach a real mail server and a real web server, once, signed, and with nothing personal."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from clinic.filled_store import Store
from clinic.waiting import free_port
from dermsentry.clinic.alerts import delivery
from dermsentry.clinic.alerts.delivery import (
    Secrets,
    claim,
    dead_letters,
    deliver,
    read_secrets,
    send_again,
    settle,
)
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.settings import Mail, Rule, Settings, Webhook
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account, Delivery, Event, now
from dermsentry.clinic.worklist.corrections import correct, withdraw
from dermsentry.errors import InputError

SECRET = "a secret of some length"
PERSONAL = {
    "patient": "Mx Doe 1970",
    "lesion": "left heel",
    "site": "foot",
    "note": "worried",
    "file_name": "doe.jpg",
}


@dataclass
class Mailbox:
    """What a mail server received; `answer` is what it says to a message."""

    answer: str = "250 OK"
    received: list[Message] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            self.received.append(email.message_from_bytes(envelope.content))
            self.recipients.extend(envelope.rcpt_tos)
        return self.answer


@contextmanager
def mail_server(box: Mailbox, port: int, **options: Any) -> Iterator[None]:
    controller = Controller(box, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


@dataclass
class Hook:
    """What a web server received; `status` is what it answers, `wait_s` after which."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def web_server(hook: Hook) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.received.append((self.path, dict(self.headers.items()), body))
            time.sleep(hook.wait_s)
            self.send_response(hook.status)
            for name, value in hook.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sending(store: Store, port: int = 25, **mail: Any) -> Clinic:
    """The clinic, with settings to send by this mail server."""
    own = Settings(link="https://clinic.example/", mail=Mail(host="127.0.0.1", port=port, **mail))
    return replace(store, settings=own)


def the(store: Store, delivery_id: int) -> Delivery:
    with reading(store.engine) as session:
        return session.get_one(Delivery, delivery_id)


def due_now(store: Store) -> None:
    with writing(store.engine) as session:
        session.execute(update(Delivery).values(next_at=now() - timedelta(seconds=1)))


def actions(store: Store) -> list[str]:
    with reading(store.engine) as session:
        assert verify(session, store.trail).problems == ()
        return [event.action for event in session.query(Event).order_by(Event.id)]


def test_an_email_holds_a_case_number_and_a_link_and_nothing_else(store: Store) -> None:
    box, port = Mailbox(), free_port()
    case = store.case(b"1", **PERSONAL)
    (number,) = store.alert(case, ("email", "reader@clinic.example"))
    with mail_server(box, port):
        assert deliver(sending(store, port), Secrets())
        assert not deliver(sending(store, port), Secrets())
    (message,) = box.received
    assert box.recipients == ["reader@clinic.example"]
    assert message.get_payload().split() == ["Case", str(case), f"https://clinic.example/cases/{case}"]
    assert message["Subject"] == f"Dermsentry: case {case}"
    assert set(message.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version", "X-Peer", "X-MailFrom", "X-RcptTo",
    }  # fmt: skip
    assert not any(word in message.as_string() for value in PERSONAL.values() for word in value.split())
    assert the(store, number).state == "sent"
    assert the(store, number).sent_at is not None
    assert actions(store)[-1] == "message sent"


def test_a_mail_server_that_is_down_is_tried_again_when_it_is_back(store: Store) -> None:
    box, port = Mailbox(), free_port()
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    assert deliver(sending(store, port), Secrets())
    found = the(store, number)
    assert (found.state, found.attempts) == ("pending", 1)
    assert "cannot be reached" in found.error
    assert timedelta(seconds=10) < found.next_at - now() <= timedelta(seconds=30)
    assert not deliver(sending(store, port), Secrets()), "it waits for its time"
    with mail_server(box, port):
        due_now(store)
        assert deliver(sending(store, port), Secrets())
    assert len(box.received) == 1
    assert (the(store, number).state, the(store, number).attempts, the(store, number).error) == (
        "sent",
        2,
        "",
    )
    assert actions(store)[-2:] == ["message not sent", "message sent"]


def test_each_try_of_one_message_has_one_message_id(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    box, port = Mailbox(), free_port()
    store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    store.alert(store.case(b"2"), ("email", "reader@clinic.example"))
    with mail_server(box, port):
        while deliver(sending(store, port), Secrets()):
            pass
        with writing(
            store.engine
        ) as session:  # as when a process was killed before it could note the sending
            session.execute(
                update(Delivery).values(state="sending", next_at=now() - timedelta(seconds=1), sent_at=None)
            )
        while deliver(sending(store, port), Secrets()):
            pass
    ids = [message["Message-ID"] for message in box.received]
    assert len(ids) == 2  # both cases are in one e-mail
    assert ids[0] == ids[1]


def test_a_message_that_is_never_taken_is_given_up_and_can_be_sent_again(store: Store) -> None:
    box, port = Mailbox(answer="554 no, Mx Doe"), free_port()
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    with mail_server(box, port):
        for _ in range(delivery.MOST_TRIES):
            due_now(store)
            assert deliver(sending(store, port), Secrets())
        due_now(store)
        assert not deliver(sending(store, port), Secrets()), "it is dead"
        with reading(store.engine) as session:
            assert [letter.id for letter in dead_letters(session)] == [number]
        assert the(store, number).error == "the mail server answered 554"
        box.answer = "250 OK"
        with writing(store.engine) as session:
            send_again(session, store, number, "admin")
        assert deliver(sending(store, port), Secrets())
    assert (the(store, number).state, len(box.received)) == ("sent", 1)
    assert actions(store)[-3:] == ["message given up", "message queued again", "message sent"]
    with writing(store.engine) as session, pytest.raises(InputError, match="no message"):
        send_again(session, store, number, "admin")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # loopback
def test_a_mail_server_with_a_user_gets_the_password(store: Store) -> None:
    box, port = Mailbox(), free_port()
    seen: list[tuple[bytes, bytes]] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        seen.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    wanted = sending(store, port, user="alerts")
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    with mail_server(box, port, authenticator=check, auth_required=True, auth_require_tls=False):
        assert deliver(wanted, Secrets(smtp_password="wrong"))
        assert the(store, number).error == "the mail server answered 535"
        due_now(store)
        assert deliver(wanted, Secrets(smtp_password="right"))
    assert seen[-1] == (b"alerts", b"right")
    assert len(box.received) == 1


def test_without_starttls_on_offer_nothing_is_sent_readable(store: Store) -> None:
    box, port = Mailbox(), free_port()
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    with mail_server(box, port):
        deliver(sending(store, port, starttls=True, user="alerts"), Secrets(smtp_password="right"))
    assert box.received == []
    assert the(store, number).state == "pending"
    assert "SMTPNotSupportedError" in the(store, number).error


def test_starttls_is_used_and_its_certificate_checked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    box, port = Mailbox(), free_port()
    wanted = sending(store, port, starttls=True)
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    with mail_server(box, port, tls_context=context, require_starttls=True):
        deliver(wanted, Secrets())
        assert box.received == [], "nobody vouches for the certificate"
        assert the(store, number).state == "pending"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        due_now(store)
        deliver(wanted, Secrets())
    assert len(box.received) == 1


def test_a_webhook_holds_a_case_number_and_a_link_and_is_signed(store: Store) -> None:
    hook = Hook()
    case = store.case(b"1", **PERSONAL)
    with web_server(hook) as address:
        (number,) = store.alert(case, ("webhook", f"{address}/alerts?key=1"))
        assert deliver(sending(store), Secrets(webhook_secret=SECRET))
    ((path, headers, body),) = hook.received
    assert path == "/alerts?key=1"
    assert json.loads(body) == {"case": case, "link": f"https://clinic.example/cases/{case}"}
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["Dermsentry-Signature"])
    assert found
    assert abs(int(found[1]) - time.time()) < 60
    signed = f"{found[1]}.".encode() + body
    assert hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == found[2]
    assert headers["Dermsentry-Delivery"].startswith(f"{number}.")
    assert the(store, number).state == "sent"
    assert SECRET not in json.dumps(headers) + body.decode()


def test_whoever_was_told_of_a_case_is_told_of_its_correction_the_same_way(store: Store) -> None:
    hook, box, port = Hook(), Mailbox(), free_port()
    case, other = store.case(b"1", **PERSONAL), store.case(b"2")
    anna = administrator(store)
    with web_server(hook) as address, mail_server(box, port):
        store.alert(case, ("webhook", address), ("email", "reader@clinic.example"))
        store.alert(case, ("webhook", address))  # another alert of the same case: told once of the change
        store.alert(other, ("email", "other@clinic.example"))
        clinic, secrets = sending(store, port, digest_minutes=0), Secrets(webhook_secret=SECRET)
        with writing(store.engine) as session:  # nobody was told yet, nobody has to be told otherwise
            correct(session, store, case, anna, {"lesion": "right heel"}, "early")
        while deliver(clinic, secrets):
            pass
        first = len(hook.received)
        assert (first, len(box.received)) == (2, 2)
        with writing(store.engine) as session:
            correct(session, store, case, anna, {"patient": "another"}, "exchanged")
            correct(session, store, case, anna, {"patient": "a third"}, "exchanged again")
            withdraw(session, store, case, anna, "a test")
        while deliver(clinic, secrets):
            pass
    link = f"https://clinic.example/cases/{case}"
    told = [json.loads(body) for _, _, body in hook.received[first:]]
    assert told == [{"case": case, "link": link, "change": own} for own in ("corrected", "withdrawn")]
    assert [own["Subject"] for own in box.received[2:]] == [f"Dermsentry: case {case} withdrawn"]
    assert "withdrawn after you were notified" in box.received[2].get_payload()
    assert set(box.recipients[2:]) == {"reader@clinic.example"}
    words = "".join(own.as_string() for own in box.received) + json.dumps(told)
    assert not any(word in words for word in ("exchanged", "another", "third"))
    assert actions(store)[-1] == "message sent"


def administrator(store: Store) -> Person:
    with writing(store.engine) as session:
        made = Account(name="anna", full_name="Anna", role="administrator", password_hash="-")
        session.add(made)
        session.flush()
        return Person(made.id, "anna", "Anna", made.role, MAY[made.role])


def test_a_webhook_is_not_followed_elsewhere(store: Store) -> None:
    elsewhere = Hook()
    with web_server(elsewhere) as other:
        hook = Hook(status=307, headers={"Location": f"{other}/stolen"})
        with web_server(hook) as address:
            (number,) = store.alert(store.case(b"1"), ("webhook", address))
            assert deliver(sending(store), Secrets(webhook_secret=SECRET))
    assert len(hook.received) == 1
    assert elsewhere.received == []
    assert (the(store, number).state, the(store, number).error) == ("pending", "answered 307")


def test_a_webhook_that_does_not_answer_ends_by_its_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LIMIT_S", 0.3)
    hook = Hook(wait_s=1.5)
    with web_server(hook) as address:
        (number,) = store.alert(store.case(b"1"), ("webhook", address))
        started = time.monotonic()
        assert deliver(sending(store), Secrets(webhook_secret=SECRET))
        assert time.monotonic() - started < 1.4
    assert (the(store, number).state, the(store, number).error) == ("pending", "no answer within 0.3 s")


def test_many_senders_send_each_message_once(store: Store) -> None:
    box, port = Mailbox(), free_port()
    wanted = {f"reader{number}@clinic.example" for number in range(40)}
    store.alert(store.case(b"1"), *(("email", address) for address in wanted))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while deliver(sending(store, port), Secrets()):
                pass
        except BaseException as error:  # a thread's own would only be a warning
            failed.append(error)
            raise

    with mail_server(box, port):
        senders = [threading.Thread(target=work) for _ in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert failed == []
    assert sorted(box.recipients) == sorted(wanted)
    assert actions(store).count("message sent") == len(wanted)


def test_a_claim_that_ran_out_settles_nothing(store: Store) -> None:
    (number,) = store.alert(store.case(b"1"), ("email", "reader@clinic.example"))
    with writing(store.engine) as session:
        first = claim(session)
    assert first is not None
    with writing(store.engine) as session:
        assert claim(session) is None, "it is in another's hands"
    due_now(store)
    with writing(store.engine) as session:
        second = claim(session)
    assert second is not None
    with writing(store.engine) as session:
        settle(session, store, first, "too late")
    assert the(store, number).state == "sending"
    with writing(store.engine) as session:
        settle(session, store, second, "")
    assert the(store, number).state == "sent"
    assert "message not sent" not in actions(store)


def test_new_messages_do_not_wait_behind_those_that_failed(store: Store) -> None:
    store.alert(store.case(b"1"), ("email", "old@clinic.example"))
    with writing(store.engine) as session:
        session.execute(update(Delivery).values(attempts=3, next_at=now() - timedelta(hours=1)))
    store.alert(store.case(b"2"), ("email", "new@clinic.example"))
    with writing(store.engine) as session:
        first = claim(session)
    assert first is not None
    assert first.address == "new@clinic.example"


@given(st.integers(1, delivery.MOST_TRIES))
def test_pauses_grow_and_end(attempt: int) -> None:
    whole = min(delivery.LONGEST_PAUSE_S, 30 * 2 ** (attempt - 1))
    assert whole / 2 <= delivery.pause(attempt).total_seconds() <= whole


def test_tries_last_for_a_night() -> None:
    shortest = sum(min(7200, 30 * 2 ** (n - 1)) / 2 for n in range(1, delivery.MOST_TRIES))
    assert shortest > 4 * 3600


HOOKED = Settings(webhooks=(Webhook(url="https://x.example"),))


@pytest.mark.parametrize(
    ("wanted", "environment", "words"),
    [
        (Settings(mail=Mail(user="a", host="mail.example", starttls=True)), {}, "SMTP_PASSWORD"),
        (
            Settings(mail=Mail(user="a", host="mail.example")),
            {"DERMSENTRY_SMTP_PASSWORD": "p"},
            "unencrypted",
        ),
        (HOOKED, {}, "WEBHOOK_SECRET"),
        (
            Settings(webhooks=(Webhook(url="https://x.example"),)),
            {"DERMSENTRY_WEBHOOK_SECRET": "short"},
            "16",
        ),
    ],
)
def test_settings_that_could_not_send_or_would_tell_are_refused(
    monkeypatch: pytest.MonkeyPatch, wanted: Settings, environment: dict[str, str], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words) as told:
        read_secrets(wanted)
    assert "\n" not in str(told.value)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMSENTRY_SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("DERMSENTRY_WEBHOOK_SECRET", SECRET)
    given = read_secrets(Settings(rules=(Rule(name="x"),), mail=Mail(user="a", host="localhost")))
    assert (given.smtp_password, given.webhook_secret) == ("hunter2", SECRET)
    assert "hunter2" not in repr(given)
    assert SECRET not in repr(given)


def test_one_channel_does_not_wait_for_the_other(store: Store) -> None:
    hook = Hook()
    with web_server(hook) as address:
        mail, told = store.alert(store.case(b"1"), ("email", "reader@clinic.example"), ("webhook", address))
        assert deliver(sending(store), Secrets(webhook_secret=SECRET), "webhook")
        assert not deliver(sending(store), Secrets(webhook_secret=SECRET), "webhook")
    assert (the(store, mail).state, the(store, told).state) == ("pending", "sent")


def test_forty_alerts_in_half_a_minute_are_two_e_mails(store: Store) -> None:
    port, box = free_port(), Mailbox()
    clinic = sending(store, port)
    (first,) = store.alert(store.case(b"first"), ("email", "reader@clinic.example"))
    with mail_server(box, port):
        assert deliver(clinic, Secrets())
        cases = [store.case(f"{i}".encode()) for i in range(39)]
        for case in cases:
            store.alert(case, ("email", "reader@clinic.example"))
        store.alert(cases[0], ("email", "other@clinic.example"))
        assert deliver(clinic, Secrets())  # the other person's is not kept waiting
        assert not deliver(clinic, Secrets())
        with writing(store.engine) as session:
            session.execute(update(Delivery).values(sent_at=now() - timedelta(minutes=6)))
            session.execute(update(Delivery).where(Delivery.state == "pending").values(sent_at=None))
        assert deliver(clinic, Secrets())
        assert not deliver(clinic, Secrets())
    assert box.recipients == ["reader@clinic.example", "other@clinic.example", "reader@clinic.example"]
    digest = box.received[-1]
    assert digest["Subject"] == "Dermsentry: 39 cases"
    text = str(digest.get_payload()).replace("\r", "")
    assert re.findall(r"^Case (\d+)$", text, re.MULTILINE) == [str(case) for case in cases]
    assert len(re.findall(r"/cases/\d+$", text, re.MULTILINE)) == 39
    with reading(store.engine) as session:
        assert {own.state for own in session.query(Delivery)} == {"sent"}
    assert actions(store).count("message sent") == 41
    assert the(store, first).attempts == 1


def test_a_digest_that_cannot_be_sent_is_tried_again_as_the_same_message(store: Store) -> None:
    port, box = free_port(), Mailbox("451 later")
    clinic = sending(store, port)
    for i in range(3):
        store.alert(store.case(f"{i}".encode()), ("email", "reader@clinic.example"))
    told = []
    with mail_server(box, port):
        assert deliver(clinic, Secrets())
        assert actions(store).count("message not sent") == 3
        for _ in range(2):
            due_now(store)
            with writing(store.engine) as session:
                claimed = claim(session)
            assert claimed is not None
            told.append([own.delivery_id for own in claimed.all])
    assert told == [[1, 2, 3]] * 2
