"""The worker: takes photographs from the queue, has them screened, keeps what was found."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import raise_alerts
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.monitoring.site_model import chosen_card, model_folder
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.events import ScreenedEvent, ScreenedSilentlyEvent
from dermsentry.clinic.store.records import finding_digest
from dermsentry.clinic.store.tables import NOT_DERMOSCOPIC, Case, Embedding, Fingerprint, Job, Model, now
from dermsentry.clinic.waiting import wait_for
from dermsentry.clinic.worker.queue import LEASE, MOST_ATTEMPTS, Leased, finish, give_up_lease, lease, renew
from dermsentry.clinic.worker.screener import Screener, Screening, unread
from dermsentry.clinic.worker.silent_mode import hide_finding, show_finding
from dermsentry.clinic.worklist.parts import gather, leave, release_parts
from dermsentry.errors import BundleError, OutputError
from dermsentry.files import plain, write_bytes
from dermsentry.model import Card

PAUSE_S = 0.25

log = logging.getLogger(__name__)


def work(clinic: Clinic, screener: Screener, card: Card, stopped: Callable[[], bool]) -> None:
    """Screen what waits until `stopped` says so; a database that is away is waited for.

    `card` is of the model that the clinic is served with; where a site bundle made from it is in force, that
    one screens.

    Raises
    ------
    BundleError
        The model was refused.
    """
    base = card
    while not stopped():
        try:
            card = _use_model_in_force(clinic, screener, base, card)
        except (DatabaseError, OutputError) as error:
            log.error("%s Trying again in 5 s.", error)
            wait_for(5, stopped)
            continue
        screener.start()  # before a photograph is in hand: a model that is refused is no photograph's fault
        try:
            with writing(clinic.engine) as session:
                leased = lease(session)
            if leased is None:
                time.sleep(PAUSE_S)
                continue
            _do(clinic, screener, card, leased)
        except (DatabaseError, OutputError) as error:
            log.error("%s Trying again in 5 s.", error)
            wait_for(5, stopped)


def _use_model_in_force(clinic: Clinic, screener: Screener, base: Card, card: Card) -> Card:
    """The card of the model that screens from now on, which the screener has opened where it is another."""
    with reading(clinic.engine) as session:
        chosen = chosen_card(session, base)
    if chosen.digest != card.digest:
        came_with = screener.bundle if screener.base is None else screener.base
        screener.use(model_folder(clinic.pictures.folder, came_with, base, chosen), came_with)
    return chosen


def keep_result(session: Session, clinic: Clinic, leased: Leased, screening: Screening, card: Card) -> bool:
    """Put a finding into its case and close the job; False where the lease was lost and nothing is kept."""
    hold(session)
    case = finish(session, leased)
    if case is None:
        return False
    again = case.state == "screened"
    whole = session.get_one(Case, case.part_of) if case.part_of is not None else case
    if again and whole.stage != "unread":  # a finding does not change under a decision
        return True
    if (case.technique in NOT_DERMOSCOPIC) != (leased.technique in NOT_DERMOSCOPIC):  # said meanwhile
        session.flush()
        session.add(Job(case_id=case.id))
        return True
    case.revision += again
    leave(session, clinic, case)
    found = screening.finding
    case.state, case.screened_at = "screened", now()
    case.model_digest = register(session, card)
    case.width, case.height = screening.width, screening.height
    case.taken = case.taken or screening.taken
    if screening.embedding:
        session.merge(Embedding(case_id=case.id, model_digest=card.digest, vector=screening.embedding))
    if screening.width is not None and not again:
        session.add(Fingerprint(case_id=case.id, data=screening.fingerprint))
    silent = clinic.settings.silent and found["melanoma"] is not None  # else it is no finding of the model's
    (hide_finding if silent else show_finding)(case, found)
    kind = ScreenedSilentlyEvent if silent else ScreenedEvent
    threshold = card.thresholds["alert"].value
    told = kind(case.id, found["tier"], found["melanoma"], card.digest, threshold, finding_digest(found))
    append(session, clinic.trail, "worker", told)
    release_parts(session, clinic, case)
    gather(session, clinic, case)
    raise_alerts(session, clinic, case)
    return True


def register(session: Session, card: Card) -> str:
    """Keep the model's card among those that screened something; its digest."""
    if session.get(Model, card.digest) is None:
        # On PostgreSQL another process may be doing the same.
        with contextlib.suppress(IntegrityError), session.begin_nested():
            session.add(Model(digest=card.digest, name=card.name, card=plain(card)))
    return card.digest


def _do(clinic: Clinic, screener: Screener, card: Card, leased: Leased) -> None:
    try:
        if leased.worn_out:
            reason = f"the file stopped its worker {MOST_ATTEMPTS} times"
            screening = Screening(unread(reason), None, None, {})
        else:
            with _renewed(clinic, leased):
                screening = screener.screen(
                    clinic.pictures.original(leased.sha256),
                    leased.format,
                    dermoscopic=leased.technique not in NOT_DERMOSCOPIC,
                )
        if "saliency" not in screening.pictures:  # of an earlier screening
            clinic.pictures.remove_drawn(leased.sha256, "saliency")
        for kind, data in screening.pictures.items():
            if kind == "saliency" and clinic.settings.silent:
                continue
            write_bytes(clinic.pictures.drawn(leased.sha256, kind), data)  # type: ignore[arg-type]
        with writing(clinic.engine) as session:
            keep_result(session, clinic, leased, screening, card)
    except BundleError as error:
        # The model holds, or it would not have been opened: the network failed on this photograph.
        log.error("Case %d: %s", leased.case_id, error)
        with writing(clinic.engine) as session:
            give_up_lease(session, leased, tried=True)
    except (DatabaseError, OutputError):
        with contextlib.suppress(DatabaseError, OutputError), writing(clinic.engine) as session:
            give_up_lease(session, leased, tried=False)
        raise


@contextlib.contextmanager
def _renewed(clinic: Clinic, leased: Leased) -> Iterator[None]:
    """Renew a lease for as long as the block takes."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(LEASE.total_seconds() / 3):
            try:
                with writing(clinic.engine) as session:
                    held = renew(session, leased)
            except (DatabaseError, OutputError) as error:
                log.error("%s Case %d may be screened twice.", error, leased.case_id)
                continue
            if not held:
                return

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def run_worker(url: str, folder: Path, settings: Settings, bundle: Path, stopped: Callable[[], bool]) -> None:
    """A worker as a process of its own: opens what it needs, and works until `stopped` says so."""
    from dermsentry.model import read_network

    card, _ = read_network(bundle)
    with Screener(bundle) as screener:
        work(open_clinic(url, folder, settings), screener, card, stopped)


def run_matching(
    url: str, folder: Path, settings: Settings, bundle: Path, stopped: Callable[[], bool]
) -> None:
    """Whatever compares photographs with all others, as a process of its own, until `stopped` says so."""
    # OpenCV and FAISS come with it, which the server itself does not need.
    from dermsentry.clinic.worker.matching import match_photographs

    with Screener(bundle) as screener:
        match_photographs(open_clinic(url, folder, settings), screener, stopped)
