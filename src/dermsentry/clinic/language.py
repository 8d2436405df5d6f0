"""The languages of pages and e-mails; times and numbers as who reads them writes them.

A language is one file, `languages/CODE.po` (gettext); the English text is the key. It is compiled when it is
first used. Errors, reasons and remarks are made in English wherever they arise, and are translated where a
person is shown them: the English sentence is recognised by its message, `%(name)s` standing for any text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, cast
from zoneinfo import ZoneInfo

from babel.core import Locale, UnknownLocaleError
from babel.dates import LOCALTZ, format_date, format_time, get_timezone_name
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol, get_group_symbol
from babel.support import LazyProxy, Translations

ENGLISH = "en"
_BRITISH = Locale("en", "GB")
"""Of English readers that nothing else is known of: the day before the month, and 24 hours."""
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+")
_SHARE = re.compile(r"(?:[<>] )?[\d.]+ %")
_LONGEST = 1000  # no sentence of the service is longer, unless somebody sent it a long text
_LEAST = 6  # letters that a message must have of its own to be recognised by
_DIGITS = r"\d[\d.,]*"  # all that a place called `number` takes
_PLACE = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class Reading:
    """How one reads: the language, the locale of dates and numbers, the time zone."""

    language: str = ENGLISH
    locale: Locale = _BRITISH
    zone: tzinfo = UTC


_reading: ContextVar[Reading] = ContextVar("reading", default=Reading())  # noqa: B039, a frozen value


@cache
def languages() -> dict[str, str]:
    """The languages that there are: the code of each and its own name for itself, English first."""
    codes = sorted(
        item.name.removesuffix(".po")
        for item in files("dermsentry.clinic").joinpath("languages").iterdir()
        if item.name.endswith(".po")
    )
    return {code: str(Locale.parse(code).get_display_name()) for code in (ENGLISH, *codes)}


def zone_of(name: str) -> tzinfo:
    """A time zone by its name; the server's own where it is empty."""
    return ZoneInfo(name) if name else LOCALTZ


@lru_cache(maxsize=256)
def choose(own: str, accepted: str, default: str, zone: str) -> Reading:
    """How somebody reads.

    Parameters
    ----------
    own
        The language that the person chose; empty where they did not.
    accepted
        What their browser accepts, as in the header `Accept-Language`.
    default
        The server's language.
    zone
        The clinic's time zone; empty for the server's.
    """
    locales = [locale for locale in _accepted(accepted) if locale.language in languages()]
    language = own if own in languages() else locales[0].language if locales else default
    usual = _BRITISH if language == ENGLISH else Locale.parse(language)
    fitting = (locale for locale in locales if locale.language == language and locale.territory)
    return Reading(language, next(fitting, usual), zone_of(zone))


def _accepted(header: str) -> list[Locale]:
    """The locales of an `Accept-Language`, the preferred first (RFC 9110, 12.5.4)."""
    found = []
    for number, part in enumerate(header[:1000].split(",")[:50]):
        tag, _, quality = part.strip().partition(";")
        weight = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", quality) if quality else None
        share = float(weight[1]) if weight else 1.0
        try:
            locale = Locale.parse(tag.strip(), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
        if share:
            found.append((-share, number, locale))
    return [locale for _, _, locale in sorted(found, key=lambda own: own[:2])]


@contextmanager
def read_by(reader: Reading) -> Iterator[None]:
    """What is worded inside is for this reader."""
    before = _reading.set(reader)
    try:
        yield
    finally:
        _reading.reset(before)


def reader() -> Reading:
    """Whom the present words are for; English in UTC where nobody said."""
    return _reading.get()


@cache
def catalog(language: str) -> Catalog:
    """The messages of a language."""
    with files("dermsentry.clinic").joinpath("languages", f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


@cache
def _translations(language: str) -> Translations:
    compiled = io.BytesIO()
    write_mo(compiled, catalog(language))
    compiled.seek(0)
    return Translations(compiled)


def plain_gettext(message: str) -> str:
    """A message in the reader's language, its places not filled in."""
    language = reader().language
    if language == ENGLISH or not message:  # gettext answers nothing with the file's header
        return message
    return _translations(language).gettext(message)


def plain_ngettext(singular: str, plural: str, number: int) -> str:
    """One of two messages in the reader's language by a number, its places not filled in."""
    language = reader().language
    if language == ENGLISH:
        return singular if number == 1 else plural
    return _translations(language).ngettext(singular, plural, number)


def _(message: str, **values: Any) -> str:
    """A message in the reader's language; `%(name)s` takes a value, `%%` is a per cent sign."""
    return plain_gettext(message) % values


def ngettext(singular: str, plural: str, number: int, **values: Any) -> str:
    """One of two messages in the reader's language, by a number that `%(number)s` takes."""
    return plain_ngettext(singular, plural, number) % {"number": number, **values}


def lazy(message: str) -> str:
    """A message that is translated each time it is shown."""
    return cast(str, LazyProxy(plain_gettext, message, enable_cache=False))


def translated(text: str) -> str:
    """A sentence made in English, in the reader's language; as it is where no message fits it."""
    language = reader().language
    if language == ENGLISH or not 0 < len(text) <= _LONGEST:
        return str(text)
    return _recognised(reader().locale, language, str(text))


@lru_cache(maxsize=4096)
def _recognised(locale: Locale, language: str, text: str) -> str:
    """Of the messages that fit, the one with the most text of its own."""
    exact = _translations(language).gettext(text.replace("%", "%%"))
    if exact != text.replace("%", "%%"):
        return exact.replace("%%", "%")
    for pattern, message in _patterns(language):
        found = pattern.fullmatch(text)
        if found:
            given = found.groupdict()
            values = {name: value and _recognised(locale, language, value) for name, value in given.items()}
            return message % values
    if text.endswith(".") and len(text) > 1:  # a phrase that was made a sentence
        phrase = _recognised(locale, language, text[:-1])
        return text if phrase == text[:-1] else f"{phrase}."
    begun = text[0].lower() + text[1:]
    if begun != text:
        whole = _recognised(locale, language, begun)
        return text if whole == begun else whole[0].upper() + whole[1:]
    return _localised(text, locale) if _SHARE.fullmatch(text) or _NUMBER.fullmatch(text) else text


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """What recognises each message that has places and that code makes, those with most text first."""
    found = []
    for message in catalog(language):
        made = isinstance(message.id, str) and any(
            name.endswith((".py", ".txt")) for name, _ in message.locations
        )
        if made and message.string and _PLACE.search(str(message.id)):
            parts = _PLACE.split(str(message.id).replace("%%", "%"))
            pattern = "".join(
                (f"(?P<{part}>{_DIGITS if part == 'number' else '.*?'})" if number % 2 else re.escape(part))
                for number, part in enumerate(parts)
            )
            own = sum(character.isalpha() for part in parts[::2] for character in part)
            if own >= _LEAST:
                found.append((own, re.compile(pattern, re.DOTALL), str(message.string)))
    return [(pattern, text) for _, pattern, text in sorted(found, key=lambda one: -one[0])]


def numerals(text: object) -> str:
    """Text with numbers in English writing, with the reader's decimal and grouping marks."""
    return _localised(str(text), reader().locale)


def _localised(text: str, locale: Locale) -> str:
    if locale.language == ENGLISH:
        return text
    marks = {",": get_group_symbol(locale), ".": get_decimal_symbol(locale)}
    return _NUMBER.sub(lambda found: re.sub("[,.]", lambda mark: marks[mark[0]], found[0]), text)


def moment(at: datetime | str, *, seconds: bool = False) -> str:
    """A time in the clinic's zone, as the reader writes it: `26 Nov 2026, 17:05`."""
    own = reader()
    local = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(own.zone)
    shown = format_date(local, "medium", own.locale)
    return f"{shown}, {format_time(local, 'medium' if seconds else 'short', locale=own.locale)}"


def day(on: date | str) -> str:
    """A day as the reader writes it: `26 Nov 2026`. Of a text in ISO 8601, its day."""
    return format_date(date.fromisoformat(on[:10]) if isinstance(on, str) else on, "medium", reader().locale)


def zone_name(at: datetime) -> str:
    """The name of the clinic's time zone, as it is at that time: `CET`."""
    own = reader()
    return get_timezone_name(at.astimezone(own.zone), width="short", locale=own.locale)


def inside(text: str) -> str:
    """A label within a sentence: English ones without their capital, others as they are."""
    return str(text).lower() if reader().language == ENGLISH else str(text)
