"""The clinic's commands: serve the worklist, accounts, a model of its own, audit trail, backup, restore."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dermsentry.clinic.roles import Role
from dermsentry.errors import InputError, OutputError, require_extra
from dermsentry.progress import say

if TYPE_CHECKING:
    from dermsentry.clinic.clinic import Clinic, ServedClinic
    from dermsentry.clinic.store.accounts import Person

app = typer.Typer(rich_markup_mode=None)

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="DERMSENTRY_DB",
        show_envvar=False,
        help="The clinic's database, such as postgresql+psycopg://USER@HOST/NAME; by default SQLite in the "
        "data folder. Or DERMSENTRY_DB, where others may not read the password.",
    ),
]
audit_log = typer.Typer(
    help="The clinic's audit trail: who did what.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(audit_log, name="audit-log")
adoption = typer.Typer(
    help="The clinic's own model, from its outcomes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(adoption, name="adoption")
account = typer.Typer(
    help="The clinic's accounts, kept at the server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(account, name="account")
Model = Annotated[Path, typer.Option(help="Folder of the bundle that the clinic is served with.")]
Sensitivity = Annotated[float, typer.Option(help="Share of melanomas that must raise an alert.")]
Confidence = Annotated[float, typer.Option(help="How sure that must be.")]
AccountName = Annotated[
    str, typer.Option("--account", help="An administrator's account; asks its password and second factor.")
]
Named = Annotated[str, typer.Argument(metavar="NAME", help="The account's user name.")]


@app.command(short_help="Serve the clinic's worklist.")
def serve(
    model: Annotated[
        Path, typer.Option(help="Folder of a model bundle; by default the bundled model.")
    ] = Path("dermoscopy"),
    db: Database = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default only this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the web pages; 0 takes a free one.")
    ] = 8080,
    root_path: Annotated[
        str, typer.Option(help="Path under which another web server has the service, such as /derm.")
    ] = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Screening processes.")] = 1,
    dicom_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Also receive DICOM (C-STORE) on this port.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Also take images from this folder; or `watch` in clinic.toml.")
    ] = None,
) -> None:
    """Serve the clinic's worklist: images come in, the most suspicious come first, a dermatologist decides.

    Data are kept in the folder DERMSENTRY_HOME, by default `dermsentry` in the desktop's data folder.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.server.serving import Plan
    from dermsentry.clinic.server.serving import serve as run
    from dermsentry.clinic.store.folder import database_of
    from dermsentry.clinic.web.app import create_app
    from dermsentry.clinic.web.root_path import checked_root_path

    plan = Plan(
        folder, database_of(folder, db), model=model, host=host, port=port, workers=workers,
        root_path=checked_root_path(root_path), dicom_port=dicom_port, watch=watch,
    )  # fmt: skip
    run(plan, create_app, _say)


@audit_log.command("verify")
def verify_audit_log(db: Database = None) -> None:
    """Verify the clinic's audit trail, and that tables and photographs are what it tells.

    Exit code 1 if an event was changed, removed or inserted, or a case, read, outcome, alert, account or
    photograph is not as the events tell. Every photograph is read.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.store.audit_trail import verify
    from dermsentry.clinic.store.database import is_current, reading
    from dermsentry.clinic.store.folder import database_of
    from dermsentry.clinic.store.records import verify_records

    wrong = 0
    with closing(open_existing(database_of(folder, db), folder)) as clinic, reading(clinic.engine) as session:
        verdict = verify(session, clinic.trail)
        for problem in verdict.problems:
            typer.echo(problem)
        if is_current(clinic.engine):
            for wrong, problem in enumerate(verify_records(session, clinic.pictures), 1):  # noqa: B007
                typer.echo(problem)
            told = f"tables and photographs {'are not as they tell' if wrong else 'fit them'}"
        else:
            told = "tables are of an earlier version and not compared; serve the clinic once"
    typer.echo(
        f"{verdict.events} events, {'which do not hold' if verdict.problems else 'all of them whole'}; {told}"
    )
    raise typer.Exit(1 if verdict.problems or wrong else 0)


@audit_log.command("export")
def export_audit_log(
    out: Annotated[Path | None, typer.Option(help="The CSV to write; by default stdout.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is not an earlier export of this trail.")
    ] = False,
    db: Database = None,
) -> None:
    """Write the clinic's audit trail as CSV, one event per line, with its hashes.

    An earlier export of the same trail is replaced, which has since grown; any other file is refused.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.store.audit_trail import as_csv
    from dermsentry.clinic.store.database import reading
    from dermsentry.clinic.store.folder import database_of
    from dermsentry.files import whole_file
    from dermsentry.outputs import begins_with

    with closing(open_existing(database_of(folder, db), folder)) as clinic, reading(clinic.engine) as session:
        if out is None:
            for line in as_csv(session):
                typer.echo(line, nl=False)
        else:
            with closing(as_csv(session)) as lines:
                is_earlier = force or begins_with(out, lines)
            if not is_earlier:
                raise OutputError(
                    f"{out} is not an earlier export of this audit trail, or was edited. Nothing was "
                    "replaced: choose another --out, or replace it by --force."
                )
            with (
                whole_file(out, 0o600) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                file.writelines(as_csv(session))
            _say(f"Written: {out}")


@adoption.command("propose")
def propose_adoption(
    sensitivity: Sensitivity = 0.95,
    confidence: Confidence = 0.95,
    model: Model = Path("dermoscopy"),
    db: Database = None,
) -> None:
    """Propose a site bundle from the clinic's outcomes: what it promises, and the figures before and after.

    Nothing changes. Exit code 8 if there are too few melanomas for the promise.
    """
    from dermsentry.adoption.report import summary

    with _served(model, db) as clinic:
        from dermsentry.clinic.monitoring.site_model import propose_site_model
        from dermsentry.clinic.store.database import reading

        with reading(clinic.engine) as session:
            found = propose_site_model(session, clinic, sensitivity=sensitivity, confidence=confidence)
    typer.echo(summary(found.adoption))
    for sentence in found.adoption.warnings:
        _say(f"Note: {sentence}")
    if found.adoption.refusal:
        _say(f"dermsentry: {found.adoption.refusal}")
        raise typer.Exit(8)


@adoption.command("accept")
def accept_adoption(
    account: AccountName,
    sensitivity: Sensitivity = 0.95,
    confidence: Confidence = 0.95,
    rarer: Annotated[bool, typer.Option("--rarer", help="Confirm that alerts may become rarer.")] = False,
    model: Model = Path("dermoscopy"),
    db: Database = None,
) -> None:
    """Accept what `adoption propose` says: the site bundle screens from then on, in a running server too."""
    with _served(model, db) as clinic:
        from dermsentry.clinic.monitoring.site_model import accept_site_model, propose_site_model
        from dermsentry.clinic.store.database import reading

        person = _person(clinic, account)
        with reading(clinic.engine) as session:
            found = propose_site_model(session, clinic, sensitivity=sensitivity, confidence=confidence)
        if found.adoption.refusal:
            _say(f"dermsentry: {found.adoption.refusal}")
            raise typer.Exit(8)
        made = accept_site_model(
            clinic, person, found.number,
            sensitivity=sensitivity, confidence=confidence, may_be_rarer=rarer,
        )  # fmt: skip
    from dermsentry.adoption.report import verdict

    typer.echo(verdict(found.adoption))
    _say(f"In use from now on: {made.card.name} {made.card.digest[:12]}")


@adoption.command("withdraw")
def withdraw_adoption(account: AccountName, model: Model = Path("dermoscopy"), db: Database = None) -> None:
    """Return to the bundle that the clinic is served with, as it came."""
    with _served(model, db) as clinic:
        from dermsentry.clinic.monitoring.site_model import withdraw_site_model

        made = withdraw_site_model(clinic, _person(clinic, account))
    _say(f"In use from now on: {made.card.name} {made.card.digest[:12]}")


@account.command("list")
def list_accounts(db: Database = None) -> None:
    """List the clinic's accounts: name, role, how they sign in, whether they have a second factor."""
    with _accounts(db) as clinic:
        from sqlalchemy import select

        from dermsentry.clinic.store.database import reading
        from dermsentry.clinic.store.tables import Account

        with reading(clinic.engine) as session:
            for own in session.scalars(select(Account).order_by(Account.name)):
                given = "password to be changed" if own.password_given else "password"
                told = [
                    own.full_name,
                    own.role,
                    given if own.openid_issuer is None else "OpenID Connect",
                    *(["second factor"] if own.totp_secret else []),
                    *([] if own.active else ["closed"]),
                ]
                typer.echo(f"{own.name}: {', '.join(told)}")


@account.command("add")
def add_account_here(
    name: Named,
    full_name: Annotated[str, typer.Option(help="The person's name, shown next to decisions.")],
    role: Annotated[Role, typer.Option(help="What the person may do.")],
    db: Database = None,
) -> None:
    """Add an account. Asks for its first password, which its owner must change at the first sign-in."""
    with _accounts(db) as clinic:
        from dermsentry.clinic.store.administration import TERMINAL, open_account
        from dermsentry.clinic.store.database import writing

        password = _new_password(name)
        with writing(clinic.engine) as session:
            made = open_account(session, clinic.trail, TERMINAL, name, full_name, role, password)
    _say(f"Account {made.name} added; its password must be changed at the first sign-in.")


@account.command("password")
def give_password_here(name: Named, db: Database = None) -> None:
    """Give an account a new password, which its owner must change at the next sign-in; its sessions end."""
    with _accounts(db) as clinic:
        from dermsentry.clinic.store.accounts import account_of, new_hash
        from dermsentry.clinic.store.administration import TERMINAL, give_password
        from dermsentry.clinic.store.database import reading, writing

        with reading(clinic.engine) as session:
            found = account_of(session, name)
        hashed = new_hash(found, _new_password(found.name))
        with writing(clinic.engine) as session:
            give_password(session, clinic.trail, TERMINAL, account_of(session, name), hashed)
    _say(f"Account {found.name} has a new password, which must be changed at the next sign-in.")


@account.command("reset-second-factor")
def reset_second_factor_here(name: Named, db: Database = None) -> None:
    """Remove an account's second factor, for who has lost the phone and the recovery codes."""
    with _accounts(db) as clinic:
        from dermsentry.clinic.store.accounts import account_of
        from dermsentry.clinic.store.administration import TERMINAL, reset_second_factor
        from dermsentry.clinic.store.database import writing

        with writing(clinic.engine) as session:
            found = account_of(session, name)
            reset_second_factor(session, clinic.trail, TERMINAL, found)
    _say(f"Account {found.name} has no second factor any more, and was signed out.")


@app.command(short_help="Back up a clinic's data while it runs.")
def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as clinic.tar.")],
    db: Database = None,
) -> None:
    """Back up all of a clinic's data to a file while it runs; the file is as confidential as the data."""
    folder = _clinic_folder()
    from dermsentry.clinic.backup import backup as run
    from dermsentry.clinic.store.folder import database_of

    kept = run(folder, database_of(folder, db), out)
    typer.echo(f"{kept.cases} cases, {kept.photographs} photographs, {kept.events} events: {out}")
    for problem in kept.problems:
        _say(f"Note: {problem}")


@app.command(short_help="Restore a clinic from a backup.")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that backup wrote.")],
    db: Database = None,
) -> None:
    """Restore a clinic from a backup into an empty data folder and an empty database, and verify it.

    Exit code 1 if everything was restored but the audit trail or an image fails verification.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.backup import restore as run

    kept = run(file, folder, db)
    typer.echo(f"{kept.cases} cases, {kept.photographs} photographs, {kept.events} events: {folder}")
    for problem in kept.problems:
        _say(f"Note: {problem}")
    raise typer.Exit(1 if kept.problems else 0)


@contextmanager
def _served(model: Path, db: str | None) -> Iterator[ServedClinic]:
    """The clinic of the data folder, with the model that is in force where it is served with this one."""
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.server.serving import with_model
    from dermsentry.clinic.store.folder import database_of

    with closing(open_existing(database_of(folder, db), folder)) as clinic:
        yield with_model(clinic, model)


@contextmanager
def _accounts(db: str | None) -> Iterator[Clinic]:
    """The clinic of the data folder, whose tables are of this version. Raises InputError."""
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.store.database import is_current
    from dermsentry.clinic.store.folder import database_of

    with closing(open_existing(database_of(folder, db), folder)) as clinic:
        if not is_current(clinic.engine):
            raise InputError("The database's tables are of another version; serve the clinic once first.")
        yield clinic


def _new_password(name: str) -> str:
    """A password that is typed twice, and not shown."""
    password: str = typer.prompt(
        f"New password of {name}", hide_input=True, confirmation_prompt=True, err=True
    )
    return password


def _person(clinic: ServedClinic, name: str) -> Person:
    """Whose account it is, once the password and the second factor were right. Raises InputError."""
    from dermsentry.clinic.settings import read_settings
    from dermsentry.clinic.store.accounts import MAY, Person, check_password, due_of
    from dermsentry.clinic.store.audit_trail import append
    from dermsentry.clinic.store.database import reading, writing
    from dermsentry.clinic.store.events import CodeRefusedEvent
    from dermsentry.clinic.store.second_factor import is_code
    from dermsentry.clinic.store.tables import Account

    password = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    with reading(clinic.engine) as session:
        found = check_password(session, name, password)
    if found is None:
        raise InputError(f"Received a wrong password for {name}, or there is no such account.")
    if due_of(found, read_settings(_clinic_folder()).second_factor):
        raise InputError(
            f"The account {found.name} must choose a password or set up a second factor; sign in first."
        )
    if found.totp_secret is not None:
        code = typer.prompt(f"Code of {found.name}'s second factor", hide_input=True, err=True)
        with writing(clinic.engine) as session:
            right = is_code(session, clinic.trail, session.get_one(Account, found.id), code)
            if not right:
                append(session, clinic.trail, found.name, CodeRefusedEvent(found.name, "terminal"))
        if not right:
            raise InputError("Received a wrong code, or one that was used already; wait for the next one.")
    return Person(found.id, found.name, found.full_name, found.role, MAY[found.role])


def _clinic_folder() -> Path:
    """The data folder. Raises InputError where the clinic cannot run: no Linux, no extra `clinic`."""
    if sys.platform != "linux":
        raise InputError(
            f"The clinic runs on Linux only, not on {sys.platform}; use a Linux machine or container."
        )
    require_extra("clinic", "audit")
    from dermsentry.clinic.settings import data_folder

    return data_folder()


def _say(text: str) -> None:
    """A line for the person at the terminal."""
    say(text)
