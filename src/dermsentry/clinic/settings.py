"""What a clinic may set: `clinic.toml` in its data folder. Without the file everything has its default.

Passwords and webhook secrets are not in it: they come from the environment, and are shown nowhere.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dermsentry.clinic import lengths
from dermsentry.errors import InputError
from dermsentry.screening.triage import TIERS

FILE = "clinic.toml"
LONGEST_HOURS = 24.0 * 366
_MAIL = r'[^\s@,;:<>()\[\]"\\]{1,64}@[^\s@,;<>()"\\]{1,255}'  # one address, and nothing that makes it two


@dataclass(frozen=True)
class Rule:
    """When a case raises an alert: its tier is one of `tiers`, or melanoma is at least as probable as
    `melanoma`; and, where `after_hours` is set, it has waited that long undecided."""

    name: str
    tiers: tuple[str, ...] = ()
    melanoma: float | None = None
    after_hours: float = 0.0


@dataclass(frozen=True)
class Mail:
    """Where e-mails about alerts go, and by which server. The password is `DERMSENTRY_SMTP_PASSWORD`."""

    to: tuple[str, ...] = ()
    escalate_to: tuple[str, ...] = ()
    sender: str = "dermsentry@localhost"
    host: str = "localhost"
    port: int = 25
    user: str = ""
    starttls: bool = False


@dataclass(frozen=True)
class Webhook:
    """Where webhooks about alerts go. They are signed with `DERMSENTRY_WEBHOOK_SECRET`."""

    url: str
    escalation: bool = False


@dataclass(frozen=True)
class Dicom:
    """Where DICOM photographs are received over the network. `port` 0: nowhere. `callers`: the AE titles that
    may send; DICOM knows no password, so listen on a network that you trust."""

    port: int = 0
    host: str = "127.0.0.1"
    ae_title: str = "DERMSENTRY"
    callers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """A clinic's settings.

    `readers`: 1, or 2 with an adjudicator where they differ, the second blind to the first. `link`: the
    address that messages point to. `escalate_after_hours`: when an alert that nobody acknowledged is sent
    again, to those above. `watch`: a folder that photographs are taken from.
    """

    readers: int = 1
    link: str = "http://127.0.0.1:8080"
    escalate_after_hours: float = 24.0
    watch: str = ""
    rules: tuple[Rule, ...] = (Rule("melanoma suspected", tiers=("alert",)),)
    mail: Mail = field(default_factory=Mail)
    webhooks: tuple[Webhook, ...] = ()
    dicom: Dicom = field(default_factory=Dicom)


def data_folder() -> Path:
    """The user's data folder: `DERMSENTRY_HOME`, or `dermsentry` where the desktop keeps such things."""
    own = os.environ.get("DERMSENTRY_HOME")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(shared) / "dermsentry"


def read_settings(folder: Path) -> Settings:
    """Read `clinic.toml` of a data folder, or the defaults where there is none.

    Raises
    ------
    InputError
        It is no TOML, or a setting is unknown or of the wrong kind.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}.") from error
    read: Settings = _read(Settings, given, str(path))
    if read.readers not in (1, 2):
        raise InputError(f"{path}: received readers = {read.readers}; expected 1 or 2.")
    _check(read, str(path))
    return read


def _check(read: Settings, where: str) -> None:
    """Refuse what could never work, above all a rule that would never alert. Raises InputError."""
    names = [rule.name for rule in read.rules]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two rules have one name; each needs its own.")
    for rule in read.rules:
        place = f"{where}: rule {rule.name!r}"
        if not (1 <= len(rule.name) <= lengths.RULE and rule.name.isprintable()):
            raise InputError(f"{place}: expected a name of 1 to {lengths.RULE} characters.")
        unknown = [tier for tier in rule.tiers if tier not in TIERS]
        if unknown:
            raise InputError(
                f"{place}: received the tier {unknown[0]!r}; expected some of {', '.join(TIERS)}."
            )
        if rule.melanoma is not None and not 0 <= rule.melanoma <= 1:
            raise InputError(f"{place}: received melanoma = {rule.melanoma}; expected 0 to 1.")
        if not 0 <= rule.after_hours <= LONGEST_HOURS:
            raise InputError(f"{place}: received after_hours = {rule.after_hours}; expected 0 or more hours.")
    if not 0 < read.escalate_after_hours <= LONGEST_HOURS:
        raise InputError(
            f"{where}: received escalate_after_hours = {read.escalate_after_hours}; expected more than 0."
        )
    if not 1 <= read.mail.port <= 65535:
        raise InputError(f"{where}: received the mail port {read.mail.port}; expected 1 to 65535.")
    if not 0 <= read.dicom.port <= 65535:
        raise InputError(f"{where}: received the DICOM port {read.dicom.port}; expected 0 to 65535.")
    for address in (*read.mail.to, *read.mail.escalate_to, read.mail.sender):
        if not re.fullmatch(_MAIL, address):
            raise InputError(f"{where}: received the mail address {address!r}; expected NAME@HOST.")
    for url in (read.link, *(hook.url for hook in read.webhooks)):
        if not (re.fullmatch(r"https?://[^\s/]\S{0,490}", url) and _has_host(url)):
            raise InputError(f"{where}: received the address {url!r}; expected http:// or https://.")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


_MANY: dict[str, Any] = {"rules": Rule, "webhooks": Webhook}
_ONE: dict[str, Any] = {"mail": Mail, "dicom": Dicom}


def _read(kind: Any, given: dict[str, Any], where: str) -> Any:
    """A frozen dataclass from a table, every key and kind checked against its fields."""
    known = {own.name: own for own in fields(kind)}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]}; expected some of {', '.join(known)}.")
    values = {}
    for name, value in given.items():
        place = f"{where}: {name}"
        if name in _MANY:
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise InputError(f"{place}: expected tables, each under [[{name}]].")
            values[name] = tuple(_read(_MANY[name], item, place) for item in value)
        elif name in _ONE:
            if not isinstance(value, dict):
                raise InputError(f"{place}: expected a table, [{name}].")
            values[name] = _read(_ONE[name], value, place)
        else:
            values[name] = _plain(value, str(known[name].type), place)
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {str(error).split('__init__() ')[-1]}.") from error


def _plain(value: Any, kind: str, place: str) -> Any:
    expected: Any = {
        "int": (int, "a whole number"),
        "float": ((int, float), "a number"),
        "float | None": ((int, float), "a number"),
        "bool": (bool, "true or false"),
        "str": (str, "text"),
        "tuple[str, ...]": (list, "a list of texts"),
    }[kind]
    right = isinstance(value, expected[0]) and (kind == "bool" or not isinstance(value, bool))
    if kind.startswith("tuple"):
        right = right and all(isinstance(item, str) for item in value)
    if not right:
        raise InputError(f"{place} = {value!r}: expected {expected[1]}.")
    texts = value if kind.startswith("tuple") else [value] if kind == "str" else []
    if not all(text.isprintable() for text in texts):
        raise InputError(f"{place} = {value!r}: expected text without control characters.")
    return tuple(value) if kind.startswith("tuple") else float(value) if kind.startswith("float") else value
