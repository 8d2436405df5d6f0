"""Everything a clinic keeps, into one file and back: database, photographs, settings, the audit trail's key.

The file is a plain tar. Its last member, `manifest.json`, holds the SHA-256 of every other one; nothing is
taken out of a file in which one does not hold. The database is that of one moment; the clinic keeps running.
The file holds photographs and the key: keep it as safe as the clinic itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Engine, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from dermsentry.clinic.clinic import Clinic, open_clinic, open_existing
from dermsentry.clinic.settings import FILE as SETTINGS
from dermsentry.clinic.store.audit_trail import ANCHOR, KEY, Trail, verify
from dermsentry.clinic.store.database import DatabaseError, reading, unusable
from dermsentry.clinic.store.folder import DATABASE, database_of, sqlite_file, tables_of
from dermsentry.clinic.store.pictures import SUFFIX, Pictures
from dermsentry.clinic.store.tables import Case, Conflict, now
from dermsentry.errors import InputError, OutputError
from dermsentry.files import to_json, versions, whole_file

MANIFEST, DUMP = "manifest.json", "clinic.dump"
SCHEMA = 1
_PIECE = 1 << 20
_ALLOWED = re.compile(
    r"clinic\.(sqlite|dump|toml)|audit\.(key|anchor)|"
    r"photographs/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{64}|"
    r"pictures/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{64}\.(view\.jpg|thumbnail\.jpg|saliency\.png|heat\.png)"
)


@dataclass(frozen=True)
class Kept:
    """What a backup holds, or a restore brought back; `problems` are those of the clinic itself, in words."""

    cases: int
    photographs: int
    events: int
    problems: tuple[str, ...]


def backup(folder: Path, url: str, out: Path) -> Kept:
    """Write a clinic into one file, whole or not at all; the server may keep running.

    Raises
    ------
    InputError
        There is no clinic, or PostgreSQL's `pg_dump` is not installed.
    OutputError
        The file is there already, or cannot be written.
    DatabaseError
        The database cannot be reached.
    """
    if out.exists():
        raise OutputError(f"{out} already exists; a backup never overwrites a file. Choose another name.")
    with (
        closing(open_existing(url, folder)) as clinic,
        whole_file(out, 0o600) as file,
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".backup.") as place,
    ):
        return _write(folder, clinic, file, Path(place))


def restore(file: Path, folder: Path, url: str | None = None) -> Kept:
    """Bring a clinic back from a backup into an empty folder and, with PostgreSQL, an empty database.

    Raises
    ------
    InputError
        The file is no backup or was changed, the database is of another kind than the backup's, or
        PostgreSQL's `pg_restore` is not installed.
    OutputError
        The folder or the database is not empty, or the folder cannot be written.
    DatabaseError
        The database cannot be reached, or refuses what the backup holds.
    """
    address = database_of(folder, url)
    target = sqlite_file(address)
    umask = os.umask(0o077)  # as the server makes them: for it alone
    try:
        if any(not path.is_dir() for path in folder.rglob("*")):
            raise OutputError(f"{folder} is not empty; a backup is restored into an empty folder only.")
        if target is not None and target.exists():
            raise OutputError(f"The database {target} already exists; a restore never overwrites a database.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".restoring.") as place:
            staged = Path(place)
            manifest = _take_out(file, staged)
            kept = _restore_database(manifest, staged, address)
            for entry in sorted(staged.iterdir()):
                if entry.name not in (DATABASE, DUMP):
                    entry.rename(folder / entry.name)
            if target is not None:  # last: without it nothing looks like a clinic
                with whole_file(target, 0o600) as temporary:
                    shutil.copyfile(staged / DATABASE, temporary)
        return kept
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}. Free space, or correct its permissions."
        ) from error
    finally:
        os.umask(umask)


def _write(folder: Path, clinic: Clinic, file: Path, place: Path) -> Kept:
    engine, trail = clinic.engine, clinic.trail
    # The anchor before the database: it must never remember more than the backup holds.
    if trail.anchor.is_file():
        with trail.anchor.open("rb") as anchor:
            fcntl.flock(anchor, fcntl.LOCK_SH)  # whoever moves it holds it alone
            (place / ANCHOR).write_bytes(anchor.read())
    own = Trail(trail.key, place / ANCHOR)
    if engine.dialect.name == "sqlite":
        _copy_sqlite(Path(str(engine.url.database)), place / DATABASE)
        with closing(open_clinic(database_of(place, None), folder)) as copy, reading(copy.engine) as session:
            found = _describe(session, own)
    else:
        with _snapshot(engine) as (session, snapshot):
            found = _describe(session, own)
            _pg_dump(engine, session, snapshot, place / DUMP)
    known, events, problems = found
    hashes: dict[str, str] = {}
    photographs = 0
    with tarfile.open(file, "w") as tar:
        for name in (DATABASE, DUMP, ANCHOR):
            if (place / name).is_file():
                hashes[name] = _add(tar, name, place / name)
        for name in (KEY, SETTINGS):
            if (folder / name).is_file():
                hashes[name] = _add(tar, name, folder / name)
        for case_id, sha256 in known:
            photographs += _add_pictures(tar, folder, clinic.pictures, case_id, sha256, hashes, problems)
        about = {
            "schema": SCHEMA,
            "made_at": now().isoformat(timespec="seconds"),
            "database": engine.dialect.name,
            "versions": versions(),
            "cases": len({case_id for case_id, _ in known}),
            "photographs": photographs,
            "events": events,
            "problems": problems,
            "files": hashes,
        }
        (place / MANIFEST).write_text(to_json(about), encoding="utf-8")
        _add(tar, MANIFEST, place / MANIFEST)
    return Kept(len({case_id for case_id, _ in known}), photographs, events, tuple(problems))


def _describe(session: Session, trail: Trail) -> tuple[list[tuple[int, str]], int, list[str]]:
    """The number and SHA-256 of each case, how many events there are, and what is wrong with them."""
    verdict = verify(session, trail)
    known = [(row.id, row.sha256) for row in session.execute(select(Case.id, Case.sha256).order_by(Case.id))]
    # What came again under another header is a file of its own.
    again = select(Conflict.case_id, Conflict.sha256).join(Case).where(Conflict.sha256 != Case.sha256)
    if inspect(session.get_bind()).has_table("conflicts"):  # not in a backup of an earlier version
        known += [(row.case_id, row.sha256) for row in session.execute(again.distinct())]
    return known, verdict.events, list(verdict.problems)


def _add_pictures(
    tar: tarfile.TarFile,
    folder: Path,
    pictures: Pictures,
    case_id: int,
    sha256: str,
    hashes: dict[str, str],
    problems: list[str],
) -> int:
    path = pictures.original(sha256)
    name = path.relative_to(folder).as_posix()
    if not path.is_file():
        problems.append(f"the photograph of case {case_id} is missing")
        return 0
    hashes[name] = _add(tar, name, path)
    if hashes[name] != sha256:
        problems.append(f"the photograph of case {case_id} was changed")
    for kind in SUFFIX:
        drawn = pictures.drawn(sha256, kind)
        if drawn.is_file():
            name = drawn.relative_to(folder).as_posix()
            hashes[name] = _add(tar, name, drawn)
    return 1


class _Hashing:
    """A file that hashes what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = os.fstat(file.fileno()).st_size, 0o600, int(time.time())
        hashing = _Hashing(file)
        tar.addfile(member, hashing)
        return hashing.digest.hexdigest()


def _take_out(file: Path, place: Path) -> Mapping[str, Any]:
    """Every member into `place`, each under a name of ours and with the hash that the manifest gives."""
    try:
        with tarfile.open(file, "r:") as tar:
            manifest = _manifest(tar, file)
            left = dict(manifest["files"])
            for member in tar:
                if member.name == MANIFEST:
                    continue
                if not _plain(member) or member.name not in left or not _ALLOWED.fullmatch(member.name):
                    raise InputError(f"{file} holds {member.name!r}, which its manifest does not name.")
                path = place / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                hashing = _Hashing(source)
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                    shutil.copyfileobj(hashing, out, _PIECE)
                if hashing.digest.hexdigest() != left.pop(member.name):
                    raise InputError(f"{file} was changed: the SHA-256 of {member.name} does not hold.")
    except tarfile.TarError as error:
        raise InputError(f"{file} is not a complete backup: {error}.") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"Cannot read {file}: {error.strerror}.") from error
    if left:
        raise InputError(f"{file} is not complete: {next(iter(left))} is missing.")
    return manifest


def _plain(member: tarfile.TarInfo) -> bool:
    """Whether it is a file whose bytes all stand in the tar: a sparse one can claim any size."""
    return member.isreg() and not member.issparse()


def _manifest(tar: tarfile.TarFile, file: Path) -> dict[str, Any]:
    try:
        member = tar.getmember(MANIFEST)
        source = tar.extractfile(member) if _plain(member) else None
        found: dict[str, Any] = json.loads(source.read()) if source else {}
        whole = {name: str(value) for name, value in found["files"].items()}
        schema, kind = found["schema"], found["database"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not a complete backup: it has no usable {MANIFEST}.") from error
    if schema != SCHEMA:
        raise InputError(f"{file} was written by a later version of dermsentry; install that one.")
    if kind not in ("sqlite", "postgresql") or {"sqlite": DATABASE, "postgresql": DUMP}[kind] not in whole:
        raise InputError(f"{file} is not a complete backup: it has no database.")
    if KEY not in whole:
        raise InputError(f"{file} is not a complete backup: it has no {KEY}.")
    return {**found, "files": whole}


def _restore_database(manifest: Mapping[str, Any], staged: Path, address: str) -> Kept:
    """See that the database holds, bring it into PostgreSQL where it comes from there, verify its chain."""
    kind = manifest["database"]
    if kind != make_url(address).get_backend_name():
        raise InputError(
            f"The backup is of a clinic on {kind}; received the database {make_url(address)!r}. Name one of "
            f"that kind with --db."
        )
    clinic = open_clinic(database_of(staged, None) if kind == "sqlite" else address, staged)
    engine = clinic.engine
    try:
        if kind == "postgresql":
            if tables_of(engine):
                raise OutputError("The database is not empty; a backup is restored into an empty one only.")
            _pg_restore(engine, staged / DUMP)
        with reading(engine) as session:
            known, events, problems = _describe(session, clinic.trail)
    except DBAPIError as error:
        raise InputError(f"The backup's database cannot be used: {error.orig}.") from error
    finally:
        clinic.close()
    photographs = 0
    for case_id, sha256 in known:
        path = clinic.pictures.original(sha256)
        if not path.is_file():
            problems.append(f"the photograph of case {case_id} is missing")
        elif manifest["files"][path.relative_to(staged).as_posix()] != sha256:
            problems.append(f"the photograph of case {case_id} was changed")
        photographs += path.is_file()
    return Kept(len({case_id for case_id, _ in known}), photographs, events, tuple(problems))


def _copy_sqlite(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        if "full" in str(error):
            raise OutputError(f"Cannot write {target}: {error}.") from error
        raise DatabaseError(f"The database {source} cannot be copied: {error}.") from error


@contextmanager
def _snapshot(engine: Engine) -> Iterator[tuple[Session, str]]:
    """A session that sees one moment, and the name under which `pg_dump` sees the same."""
    try:
        with (
            engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
            Session(connection) as session,
        ):
            yield session, str(session.scalar(text("SELECT pg_export_snapshot()")))
    except DBAPIError as error:
        raise unusable(error) from error


def _pg_dump(engine: Engine, session: Session, snapshot: str, out: Path) -> None:
    version = int(str(session.scalar(text("SHOW server_version_num")))) // 10000
    _call(engine, version, "pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={out}")


def _pg_restore(engine: Engine, dump: Path) -> None:
    with reading(engine) as session:
        version = int(str(session.scalar(text("SHOW server_version_num")))) // 10000
    plain = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    _call(engine, version, "pg_restore", *plain, str(dump))


def _call(engine: Engine, version: int, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on the engine's database; the password goes by the environment."""
    from psycopg.conninfo import make_conninfo

    # Debian keeps each version's programs in a folder of its own; those of the server's version fit it.
    own = Path(f"/usr/lib/postgresql/{version}/bin/{program}")
    found = str(own) if own.is_file() else shutil.which(program)
    if found is None:
        raise InputError(f"{program} is not installed; install the client programs of PostgreSQL {version}.")
    _, parameters = engine.dialect.create_connect_args(engine.url)
    password = parameters.pop("password", None)
    parameters.pop("context", None)  # of the driver, not of the connection
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    command = [found, *arguments, "--no-password", f"--dbname={make_conninfo(**parameters)}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        if "No space left" in done.stderr:
            raise OutputError(f"{program} failed: no space left.")
        raise DatabaseError(f"{program} failed: {words[0] if words else f'exit code {done.returncode}'}.")
