"""What a clinic may set: `clinic.toml` in its data folder. Without the file everything has its default.

Passwords and webhook secrets are not in it: they come from the environment, and are shown nowhere.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dermsentry.clinic import lengths
from dermsentry.clinic.language import ENGLISH, languages
from dermsentry.clinic.roles import ROLES, Role
from dermsentry.errors import InputError
from dermsentry.screening.triage import Tier

FILE = "clinic.toml"
LONGEST_HOURS = 24.0 * 366
REFUSED = "not assessed"
"""The rule that every clinic has: what the model could not assess waits for a person, and not for ever."""
_MAIL = r'[^\s@,;:<>()\[\]"\\]{1,64}@[^\s@,;<>()"\\]{1,255}'  # one address, and nothing that makes it two


def _refuse(expected: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{expected}", {"expected": expected})


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise _refuse("text without control characters")
    return text


def _mail_address(text: str) -> str:
    if not re.fullmatch(_MAIL, text):
        raise _refuse("a mail address, NAME@HOST")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not (right and re.fullmatch(r"https?://[^\s/]\S{0,490}", text)):
        raise _refuse("an address, http:// or https://")
    return text


def _issuer(text: str) -> str:
    """An OpenID provider's issuer, which says whom to believe: over HTTPS, or on this machine."""
    local = text and urlsplit(_web_address(text)).hostname in ("127.0.0.1", "::1", "localhost")
    if (text and not (local or text.startswith("https://"))) or "?" in text or "#" in text:
        raise _refuse("an issuer, https:// without ? and #")
    return text


def _uri(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]{1,240}", text):
        raise _refuse("a URI, such as urn:oid:1.2.3 or https://HOST/PATH")
    return text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text or "UTC")
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise _refuse("a time zone, such as Europe/Berlin") from None
    return text


def _language(text: str) -> str:
    if text not in languages():
        raise _refuse(f"one of {', '.join(languages())}")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
MailAddress = Annotated[Line, AfterValidator(_mail_address)]
WebAddress = Annotated[Line, AfterValidator(_web_address)]
Uri = Annotated[Line, AfterValidator(_uri)]
TimeZone = Annotated[Line, AfterValidator(_time_zone)]
Language = Annotated[Line, AfterValidator(_language)]
Hours = Annotated[float, Field(le=LONGEST_HOURS)]
T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]
"""A list of TOML's, kept as a tuple; nothing else becomes another kind."""


class _Table(BaseModel):
    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, strict=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _no_other_setting(cls, given: Any) -> Any:
        unknown = [name for name in given if name not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            told = {"name": unknown[0], "known": ", ".join(cls.model_fields)}
            raise PydanticCustomError("unknown", "unknown setting {name}; expected some of {known}", told)
        return given


class Rule(_Table):
    """When a case raises an alert: its tier is one of `tiers`, or melanoma is at least as probable as
    `melanoma`; and, where `after_hours` is set, it has waited that long undecided."""

    name: Annotated[str, Field(min_length=1, max_length=lengths.RULE), AfterValidator(_one_line)]
    tiers: Listed[Tier] = ()
    melanoma: Annotated[float, Field(ge=0, le=1)] | None = None
    after_hours: Annotated[Hours, Field(ge=0)] = 0.0


class Mail(_Table):
    """Where e-mails about alerts go, and by which server. The password is `DERMSENTRY_SMTP_PASSWORD`.

    After an e-mail nobody gets another for `digest_minutes`: what is raised meanwhile comes in one.
    """

    to: Listed[MailAddress] = ()
    escalate_to: Listed[MailAddress] = ()
    sender: MailAddress = "dermsentry@localhost"
    host: Line = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    user: Line = ""
    digest_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 5.0
    starttls: bool = False


class Webhook(_Table):
    """Where webhooks about alerts go. They are signed with `DERMSENTRY_WEBHOOK_SECRET`."""

    url: WebAddress
    escalation: bool = False


class Dicom(_Table):
    """Where DICOM photographs are received over the network. `port` 0: nowhere. `callers`: the AE titles that
    may send; DICOM knows no password, so listen on a network that you trust, or let senders prove who they
    are by TLS.

    `tls_certificate` and `tls_key`: files (PEM) with which connections are encrypted. `tls_clients`: the
    certificate authorities (PEM) that must have signed a sender's certificate. `timezone`: the zone of the
    times in headers that state none, such as Europe/Berlin.
    """

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    host: Line = "127.0.0.1"
    ae_title: Line = "DERMSENTRY"
    callers: Listed[Line] = ()
    tls_certificate: Line = ""
    tls_key: Line = ""
    tls_clients: Line = ""
    timezone: TimeZone = ""

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise _refuse("tls_certificate and tls_key together")
        if self.tls_clients and not self.tls_certificate:
            raise _refuse("tls_certificate and tls_key too, where tls_clients is set")
        return self


class Fhir(_Table):
    """Whose numbers are sent as FHIR: the URI of each kind, such as urn:oid:1.2.276.0.76.3.1.1.

    `patient`: of the patients' numbers, where a DICOM header names no issuer. `accession`, `case`, `reader`:
    of accession numbers, case numbers, readers' account names. Where one is not set, numbers are sent under
    a URI that is this clinic's alone; an accession number is sent without one.
    """

    patient: Uri = ""
    accession: Uri = ""
    case: Uri = ""
    reader: Uri = ""


class OpenIdRoles(_Table):
    """Which groups of an OpenID provider have which role; of several the highest."""

    uploader: Listed[Line] = ()
    dermatologist: Listed[Line] = ()
    administrator: Listed[Line] = ()


class OpenId(_Table):
    """The OpenID provider that people sign in through, by its `issuer`; none where that is empty.

    `name`: what the button says. `groups`: the claim that holds a person's groups; a path such as
    `realm_access.roles` leads into one. The client's secret is `DERMSENTRY_OPENID_SECRET`.
    """

    issuer: Annotated[Line, AfterValidator(_issuer)] = ""
    client_id: Line = ""
    name: Annotated[Line, Field(min_length=1, max_length=40)] = "single sign-on"
    scopes: Listed[Line] = ("openid", "profile", "email")
    groups: Annotated[Line, Field(min_length=1)] = "groups"
    roles: OpenIdRoles = OpenIdRoles()

    @model_validator(mode="after")
    def _complete(self) -> OpenId:
        if self.issuer and not (
            self.client_id and "openid" in self.scopes and any(vars(self.roles).values())
        ):
            raise _refuse("client_id, openid among scopes, and groups for at least one role, beside issuer")
        return self

    def role_of(self, groups: Collection[str]) -> Role | None:
        """The highest role that one of the groups has; None where none has any."""
        return next(
            (role for role in reversed(ROLES) if not set(getattr(self.roles, role)).isdisjoint(groups)), None
        )


class Settings(_Table, BaseSettings):
    """A clinic's settings.

    `readers`: 1, or 2 with an adjudicator where they differ, the second blind to the first. `link`: the
    address that messages point to. `escalate_after_hours`: when an alert that nobody acknowledged is sent
    again, to those above. `refused_after_hours`: when a case that the model could not assess, or whose file
    cannot be read, raises an alert, whatever the rules; at once where its probability of melanoma reaches the
    model's alert threshold. `watch`: a folder that photographs are taken from. `silent`: photographs are
    screened and findings recorded, but shown to no reader, and no alert is raised. `second_factor`: the roles
    whose accounts must have one. `language`: of e-mails, and of pages where neither the person nor the
    browser says one. `timezone`: of the times on pages, such as Europe/Berlin; empty for the server's own.
    """

    readers: Annotated[int, Field(ge=1, le=2)] = 1
    link: WebAddress = "http://127.0.0.1:8080"
    escalate_after_hours: Annotated[Hours, Field(gt=0)] = 24.0
    refused_after_hours: Annotated[Hours, Field(ge=0)] = 24.0
    watch: Line = ""
    silent: bool = False
    language: Language = ENGLISH
    timezone: TimeZone = ""
    second_factor: Listed[Role] = ()
    rules: Listed[Rule] = (Rule(name="melanoma suspected", tiers=("alert",)),)
    mail: Mail = Mail()
    webhooks: Listed[Webhook] = ()
    dicom: Dicom = Dicom()
    openid: OpenId = OpenId()
    fhir: Fhir = Fhir()

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if len({REFUSED, *(rule.name for rule in rules)}) < len(rules) + 1:
            raise _refuse(f"a name of its own for each, and none that is {REFUSED!r}")
        return rules

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The clinic's rules, and the one about what the model could not assess."""
        tiers: tuple[Tier, ...] = ("cannot-say", "unreadable")
        return *self.rules, Rule(name=REFUSED, tiers=tiers, after_hours=self.refused_after_hours)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing from the environment, where `MAIL` is another's."""
        return (init_settings,)


class Secrets(BaseSettings):
    """What signs in to the mail server and the OpenID provider, and signs webhooks; from the environment."""

    model_config = SettingsConfigDict(env_prefix="DERMSENTRY_", frozen=True)

    smtp_password: Annotated[str, Field(repr=False)] = ""
    webhook_secret: Annotated[str, Field(repr=False)] = ""
    openid_secret: Annotated[str, Field(repr=False)] = ""


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
        if path.exists() and not path.is_file():
            raise InputError(f"Cannot read {path}: it is not a file.")
        return Settings.model_validate(TomlConfigSettingsSource(Settings, path)())
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error
    except ValidationError as error:
        raise InputError(f"{path}: {_words(error)}.") from error


_EXPECTED = {
    "tuple_type": "a list",
    "model_type": "a table",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
}
"""What a kind of error of pydantic's means in TOML's words."""


def _words(error: ValidationError) -> str:
    """The first thing that is wrong: where, what was received, what is expected."""
    first = error.errors()[0]
    place = " ".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
    where = f"{place}: " if place else ""
    if first["type"] == "unknown":
        return where + first["msg"]
    if first["type"] == "missing":
        return f"{where}received none; expected one"
    expected = re.sub(r"^(Input|String) should (be|have) ", "", first["msg"])
    if first["type"] in _EXPECTED:
        expected = _EXPECTED[first["type"]].format(**first.get("ctx", {}))
    if first["type"] == "tuple_type" and place in ("rules", "webhooks"):
        expected = f"tables, each under [[{place}]]"
    # A table or a list is not repeated: the address of a webhook in it may be a secret.
    given = first["input"]
    received = "a table" if isinstance(given, dict) else "a list" if isinstance(given, list) else repr(given)
    return f"{where}received {received}; expected {expected}"
