"""The server: one command that begins everything a clinic needs, and ends it without losing anything."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import select

from dermsentry._version import __version__
from dermsentry.clinic.alerts.delivery import read_secrets, run_deliveries
from dermsentry.clinic.clinic import Clinic, Pulse, ServedClinic, open_clinic
from dermsentry.clinic.monitoring.site_model import with_model_in_force
from dermsentry.clinic.server.connections import bounded, enough_descriptors, log_faults
from dermsentry.clinic.server.housekeeping import run_housekeeping
from dermsentry.clinic.server.processes import Part, keep_running
from dermsentry.clinic.server.ways_in import run_receiver, run_watched_folder
from dermsentry.clinic.settings import Settings, read_settings
from dermsentry.clinic.store.accounts import has_accounts
from dermsentry.clinic.store.audit_trail import KEY, append, belongs, open_trail, remember
from dermsentry.clinic.store.database import DatabaseError, migrate, open_database, reading, writing
from dermsentry.clinic.store.events import ServerEvent, ServerStartedEvent, ServerStoppedEvent
from dermsentry.clinic.store.folder import prepare
from dermsentry.clinic.store.tables import Event
from dermsentry.clinic.worker.worker import register, run_matching, run_worker
from dermsentry.errors import InputError, OutputError
from dermsentry.model import BUNDLED, bundled, read_network
from dermsentry.model.card import Card

GRACE_S = 10
SCREENING_NICE, MATCHING_NICE = 5, 10
"""Pages come before screening, which comes before comparing photographs: with 5 it gets a quarter of a core
that a page wants too, and all of one that nobody wants."""
BACKLOG = 128


@dataclass(frozen=True)
class Plan:
    """What `dermsentry serve` was asked for.

    `port` 0 takes a free one. `root_path`: where another web server has the service, such as /derm.
    `dicom_port` and `watch` are those of `clinic.toml` where they are None.
    """

    folder: Path
    database: str
    model: Path = Path(BUNDLED)
    host: str = "127.0.0.1"
    port: int = 8080
    root_path: str = ""
    workers: int = 1
    dicom_port: int | None = None
    watch: Path | None = None


def serve(plan: Plan, make_app: Callable[[ServedClinic], Any], say: Callable[[str], None]) -> None:
    """Serve a clinic until SIGTERM or Ctrl-C.

    Parameters
    ----------
    make_app
        From a clinic to its web application (ASGI).
    say
        Takes a line for the person at the terminal.

    Raises
    ------
    InputError
        The settings, the address, the port or a folder cannot be used.
    OutputError
        The data folder cannot be written, or there is no space left.
    DatabaseError
        The database cannot be reached.
    BundleError
        The model was refused.
    """
    umask = os.umask(0o077)  # photographs, keys and the database are for the server alone
    try:
        _serve(plan, make_app, say, umask)
    finally:
        os.umask(umask)


def _serve(
    plan: Plan, make_app: Callable[[ServedClinic], Any], say: Callable[[str], None], umask: int
) -> None:
    prepare(plan.folder)
    settings = read_settings(plan.folder)
    read_secrets(settings)
    bundle = _bundle_folder(plan.model)
    card, _ = read_network(bundle)
    with _listen(plan.host, plan.port) as listening:
        address = _address(plan.host, listening.getsockname()[1]) + plan.root_path
        if settings.link == Settings().link:
            settings = settings.model_copy(update={"link": address})
        if plan.dicom_port is not None:
            dicom = settings.dicom.model_copy(update={"port": plan.dicom_port})
            settings = settings.model_copy(update={"dicom": dicom})
        clinic = begin_clinic(plan, settings, bundle, card)

        def announce() -> None:
            say(f"Serving {address}; Ctrl-C ends it.")
            if settings.silent:
                say("Silent mode: findings are recorded and not shown, and no alerts are sent.")
            if clinic.first_token:
                say(f"There is no account yet. Make the first at {address} with: {clinic.first_token}")

        try:
            parts = parts_of(plan, clinic, umask)
            app = make_app(clinic)
            _note(clinic, ServerStartedEvent(__version__, clinic.card.digest, plan.workers, settings.silent))
            _run(app, listening, parts, clinic.pulses, announce, say)
            with suppress(DatabaseError, OutputError):
                _note(clinic, ServerStoppedEvent(__version__))
        finally:
            clinic.close()


def with_model(clinic: Clinic, model: Path) -> ServedClinic:
    """A clinic, and the model that is in force where it is served with this one. Raises BundleError."""
    bundle = _bundle_folder(model)
    card, _ = read_network(bundle)
    with reading(clinic.engine) as session:
        return with_model_in_force(session, ServedClinic(**vars(clinic), bundle=bundle, card=card))


def _bundle_folder(model: Path) -> Path:
    return bundled() if str(model) == BUNDLED and not model.exists() else model.absolute()


def begin_clinic(plan: Plan, settings: Settings, bundle: Path, card: Card) -> ServedClinic:
    """Open the clinic, its tables brought to this version and its model registered.

    Raises
    ------
    InputError
        The database's audit trail was written with another key than the folder's.
    """
    engine = open_database(plan.database)
    try:
        migrate(engine)
        with writing(engine) as session:
            begun = session.scalar(select(Event.id).limit(1)) is not None
            # Looked for first: opening the trail makes a key where there is none.
            if begun and not ((plan.folder / KEY).is_file() and belongs(session, open_trail(plan.folder))):
                raise InputError(
                    f"The database's audit trail was not written with the key {plan.folder / KEY}; use the "
                    "data folder that belongs to the database, or restore both from one backup."
                )
            register(session, card)
            token = "" if has_accounts(session) else secrets.token_urlsafe(18)
    finally:
        engine.dispose()
    opened = open_clinic(plan.database, plan.folder, settings)
    clinic = ServedClinic(
        **vars(opened), bundle=bundle, card=card, first_token=token, root_path=plan.root_path
    )
    with reading(clinic.engine) as session:
        return with_model_in_force(session, clinic)


def parts_of(plan: Plan, clinic: ServedClinic, umask: int) -> list[Part]:
    """The processes beside the web server. Raises InputError where one could not begin."""
    settings = clinic.settings
    common = (plan.database, plan.folder, settings)
    parts = [
        Part(f"worker {number}", run_worker, (*common, clinic.served_with[0]), SCREENING_NICE)
        for number in range(1, plan.workers + 1)
    ]
    parts.append(Part("matching", run_matching, (*common, clinic.served_with[0]), MATCHING_NICE))
    parts.append(Part("housekeeping", run_housekeeping, common))
    if settings.webhooks or settings.mail.to or settings.mail.escalate_to:
        # A process each: a mail server that hangs must not keep the webhooks waiting.
        parts += [
            Part(f"{channel} delivery", run_deliveries, (*common, channel))
            for channel in ("email", "webhook")
        ]
    if settings.dicom.port:
        from dermsentry.clinic.intake.dicom_receiver import start_receiver

        # Begun and ended here first: whatever is wrong with it is told at once, at the terminal.
        start_receiver(clinic).close()
        parts.append(Part("DICOM receiver", run_receiver, common))
    watched = plan.watch or _watched(settings)
    if watched is not None:
        from dermsentry.clinic.intake.watched_folder import open_folder

        os.umask(umask)
        open_folder(watched)
        os.umask(0o077)
        parts.append(Part("watched folder", run_watched_folder, (*common, watched.absolute(), umask)))
    return parts


def _watched(settings: Settings) -> Path | None:
    """The folder of the settings that is watched, if any. Raises InputError where `~` leads nowhere."""
    try:
        return Path(settings.watch).expanduser() if settings.watch else None
    except RuntimeError as error:
        raise InputError(f"Received watch = {settings.watch!r}; there is no such user.") from error


def _run(
    app: Any,
    listening: socket.socket,
    parts: list[Part],
    pulses: list[Callable[[], Pulse]],
    announce: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Everything at once, until a signal; then requests are answered and processes ended.

    Raises
    ------
    CannotGoOn
        A process could not be started for long.
    """
    ended = threading.Event()
    failed: list[Exception] = []
    # What uvicorn was told it tells again at its end; by then it is too late to be interrupted.
    before = {
        number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    most = enough_descriptors()
    config = uvicorn.Config(
        app,
        http=bounded(most),
        backlog=BACKLOG,
        log_level="warning",
        access_log=False,  # an address may hold what was searched for
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="auto",
    )
    server = _Server(config, announce, ended)

    def keep() -> None:
        try:
            keep_running(parts, ended.is_set, say, pulses)
        except Exception as error:  # noqa: BLE001 - told by the main thread, once everything has ended
            failed.append(error)
        finally:  # a server that screens nothing must not look as if it did
            ended.set()
            server.should_exit = True

    keeper = threading.Thread(target=keep, name="processes")
    try:
        keeper.start()
        server.run(sockets=[listening])
    finally:
        ended.set()
        keeper.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed:
        raise failed[0]


class _Server(uvicorn.Server):
    """Uvicorn that says when it listens, and stops if it was told to before it started."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], ended: threading.Event) -> None:
        super().__init__(config)
        self.announce, self.ended = announce, ended

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().set_exception_handler(log_faults())
        if self.started:
            self.announce()
        self.should_exit = self.should_exit or self.ended.is_set()


def _note(clinic: ServedClinic, event: ServerEvent) -> None:
    with writing(clinic.engine) as session:
        append(session, clinic.trail, "system", event)
    with reading(clinic.engine) as session:
        remember(session, clinic.trail)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError where the address or the port cannot be had."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        own = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(f"Received --host {host} --port {port}: {error}.") from error
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(place)
        own.listen(1024)
    except (OSError, OverflowError) as error:
        own.close()
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot listen on {host} port {port}: {problem}. Choose another --port.") from error
    return own


def _address(host: str, port: int) -> str:
    if host in ("", "0.0.0.0", "::"):  # every address of this machine; its name leads to one
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
