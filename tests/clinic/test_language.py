"""Every message is translated; times, days and numbers are written as their reader writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from importlib.resources import files
from pathlib import Path

import pytest
from babel.core import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.checkers import checkers
from bs4 import BeautifulSoup, Comment
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.clinic import language
from dermsentry.clinic.alerts.delivery import _worded
from dermsentry.clinic.language import Reading, choose, read_by, translated
from dermsentry.clinic.settings import Settings, read_settings
from dermsentry.errors import InputError
from docs.make_language import FOLDER, messages, prose, text_of, update

SOURCE = Path(str(files("dermsentry.clinic").joinpath("web")))
OTHERS = [code for code in language.languages() if code != "en"]
BERLIN = choose("de", "", "en", "Europe/Berlin")
NAMES = {"Dermsentry", "– Dermsentry", "ICD-O 9140/3", "UTF-8"}
"""What is the same in every language."""


@pytest.fixture(scope="module")
def gathered() -> Catalog:
    return messages()


def keys(message: Message) -> list[str]:
    return [message.id] if isinstance(message.id, str) else list(message.id)


def strings(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


@pytest.mark.parametrize("code", OTHERS)
def test_every_message_is_translated(code: str, gathered: Catalog) -> None:
    known = language.catalog(code)
    found = {keys(own)[0]: own for own in known if own.id}
    wanted = {keys(own)[0] for own in gathered if own.id}
    assert wanted - set(found) == set(), "run `python docs/make_language.py`, and translate what is new"
    assert set(found) - wanted == set(), "run `python docs/make_language.py`"
    assert [name for name, own in found.items() if not all(strings(own))] == []
    assert [name for name, own in found.items() if own.fuzzy] == []


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_takes_the_values_of_its_message(code: str) -> None:
    for message in language.catalog(code):
        if not message.id:
            continue
        for check in checkers:
            check(language.catalog(code), message)  # raises TranslationError
        marks = r"%\(\w+\)s|(?<!\w)\{\w+\}|</?\w+[^>]*>"
        wanted = [sorted(re.findall(marks, text)) for text in keys(message)]
        for text in strings(message):
            assert sorted(re.findall(marks, text)) in wanted, message.id


@pytest.mark.parametrize("code", OTHERS)
def test_the_file_is_as_the_command_writes_it(code: str, gathered: Catalog) -> None:
    written = (FOLDER / f"{code}.po").read_text(encoding="utf-8")
    assert text_of(update(language.catalog(code), gathered)) == written, "run `python docs/make_language.py`"


@pytest.mark.parametrize("path", sorted((SOURCE / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_holds_text_that_is_not_marked(path: Path) -> None:
    source = re.sub(
        r"\{#.*?#\}|\{% trans.*?\{% endtrans %\}", "", path.read_text(encoding="utf-8"), flags=re.S
    )
    source = re.sub(r"\{\{ (region|body|hand)\(.*?\}\}", "", source)  # codes, which a filter puts into words
    for value in re.findall(r"\{\{(.*?)\}\}", source, flags=re.S):
        plain = re.sub(r"_\((\"[^\"]*\"|'[^']*')", "", value)
        words = re.findall(r'"([A-Z][a-z]+[^"/]*|[a-z]+ [^"/]*)"', plain)
        assert words == [], f"{value.strip()}: mark {words} by _()"
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", source, flags=re.S)
    page = BeautifulSoup(bare, "html.parser")
    for hidden in page.find_all(["script", "style", "code", "kbd", "pre"]):
        hidden.decompose()
    said = [str(text).strip() for text in page.find_all(string=True) if not isinstance(text, Comment)]
    said += [
        str(tag[name]) for name in ("aria-label", "placeholder", "title", "alt", "data-label")
        for tag in page.find_all(attrs={name: True})
    ]  # fmt: skip
    unmarked = [text for text in said if re.search("[A-Za-z]{2}", text) and text not in NAMES]
    # What is left of a body's class, and of the markup that macros take, is no text.
    unmarked = [text for text in unmarked if text not in ("wide", "narrow", "paper", "html", "doctype html")]
    unmarked = [text for text in unmarked if "data-" not in text]
    assert unmarked == []


@pytest.mark.parametrize("path", sorted((SOURCE / "static").glob("*.js")), ids=lambda path: path.name)
def test_no_script_holds_text_that_is_not_marked(path: Path) -> None:
    if ".min." in path.name:
        return
    source = re.sub(r"^\s*//.*$|\s//[^\"'`]*$", "", path.read_text(encoding="utf-8"), flags=re.M)
    marked = re.sub(r'word\("[^"]*"', "", source).replace('"use strict"', "")
    assert unmarked_in_script(marked) == []


def unmarked_in_script(source: str) -> list[str]:
    """Sentences in a script, and whatever is put where people read it or hear it."""
    quoted = r"""["'`][^"'`]*[A-Za-z]{2}[^"'`]*["'`]"""
    sentence = r"""["'`][A-Z][a-z]+[:;,.!?]* [A-Za-z][^"'`]*["'`]"""
    heard = r"""(?:aria-label|aria-description|title|alt|placeholder)"""
    return re.findall(
        rf"""{sentence}|(?:textContent|innerText|ariaLabel|title|alt|placeholder) = {quoted}"""
        rf"""|["']{heard}["'][,:] {quoted}""",
        source,
    )


@pytest.mark.parametrize(
    "line",
    [
        'made.setAttribute("aria-label", "Photograph: plus and minus zoom");',
        "made.setAttribute('title', 'close');",
        'make("circle", { r: 8, "aria-label": `point ${i}` });',
        'told.textContent = "later";',
        'say("Not saved. Try again.");',
    ],
)
def test_text_of_a_script_that_is_not_marked_is_found(line: str) -> None:
    assert len(unmarked_in_script(line)) == 1


def test_a_number_inside_a_sentence_and_no_other_word_is_a_number() -> None:
    with read_by(BERLIN):
        assert translated("19.8 GiB free.") == "19,8 GiB frei."
        assert translated("not a photograph") == "keine Fotografie"  # and not `%(number)s photograph`


def test_the_sentences_of_a_text_template_are_gathered() -> None:
    source = """{% block own %}{% if few %}Only {{ n.few|counted("mole") }}
    {{ "is" if n.few == 1 else "are" }} here: {{ n.share|percent }} at 5 %.{% endif %}{% endblock %}"""
    assert set(prose(source)) == {
        "Only %(few)s is here: %(share)s at 5 %%.", "Only %(few)s are here: %(share)s at 5 %%.",
        "%(number)s mole", "%(number)s moles", "no moles",
    }  # fmt: skip


def test_the_language_is_the_persons_else_the_browsers_else_the_servers() -> None:
    assert choose("de", "en-US", "en", "").language == "de"
    assert choose("", "fr, de-AT;q=0.8, en;q=0.5", "en", "").language == "de"
    assert choose("", "de;q=0, en", "de", "").language == "en"
    assert choose("", "", "de", "").language == "de"
    assert choose("", "fr", "de", "").language == "de"
    assert choose("xx", "", "en", "").language == "en"  # a language that was taken away since


def test_the_locale_is_the_readers_own_of_the_language() -> None:
    assert choose("de", "en-US, de-CH", "en", "").locale == Locale("de", "CH")
    assert choose("", "en-US", "de", "").locale == Locale("en", "US")
    assert choose("en", "de-AT", "de", "").locale == Locale("en", "GB")


@given(st.text(), st.text(max_size=3))
def test_any_header_is_read(header: str, own: str) -> None:
    assert choose(own, header, "de", "").language in language.languages()


def test_times_are_the_clinics_in_summer_and_winter() -> None:
    with read_by(BERLIN):
        assert language.moment(datetime(2026, 7, 1, 22, 30, tzinfo=UTC)) == "02.07.2026, 00:30"
        assert language.moment(datetime(2026, 1, 1, 22, 30, tzinfo=UTC)) == "01.01.2026, 23:30"
        assert language.moment("2026-01-01T22:30:05+00:00", seconds=True) == "01.01.2026, 23:30:05"
        assert language.zone_name(datetime(2026, 7, 1, tzinfo=UTC)) == "MESZ"
        assert language.day("2026-01-31") == "31.01.2026"
    with read_by(choose("", "en-US", "en", "America/New_York")):
        assert language.moment(datetime(2026, 1, 1, 2, 30, tzinfo=UTC)).replace("\u202f", " ") == (
            "Dec 31, 2025, 9:30 PM"
        )


def test_numbers_have_the_readers_marks() -> None:
    assert language.numerals("1,234.5 % (1.2–3.4)") == "1,234.5 % (1.2–3.4)"
    with read_by(BERLIN):
        assert language.numerals("1,234.5 % (1.2–3.4)") == "1.234,5 % (1,2–3,4)"
    with read_by(Reading("de", Locale("de", "CH"))):
        assert language.numerals("1,234.5") == "1'234.5"


def test_sentences_made_in_english_are_recognised() -> None:
    with read_by(BERLIN):
        assert translated("There is no case 12.") == "Es gibt keinen Fall 12."
        assert translated("You must set up a second factor first.") == (
            "Sie müssen zuerst einen zweiten Faktor einrichten."
        )
        reason = (
            "melanoma 41.2 %, at or above the alert threshold of 12.3 % (chosen for a sensitivity of 95 %)"
        )
        assert translated(reason) == (
            "Melanom 41,2 %, auf oder über der Schwelle für Alarm von 12,3 % "
            "(gewählt für eine Sensitivität von 95 %)"
        )
        assert (
            translated("Case 1.2 % is not of patient P-1.5.") == "Fall 1,2 % gehört nicht zu Patient P-1.5."
        )
        assert translated("nothing that is known") == "nothing that is known"
    assert translated("There is no case 12.") == "There is no case 12."


@given(st.text())
def test_any_text_is_shown(text: str) -> None:
    with read_by(BERLIN):
        assert isinstance(translated(text), str)


def test_an_e_mail_is_in_the_servers_language() -> None:
    with read_by(BERLIN):
        subject, text = _worded({4: "withdrawn"}, "https://clinic/cases")
        assert subject == "Dermsentry: Fall 4 zurückgezogen"
        assert (
            text == "Fall 4 wurde zurückgezogen, nachdem Sie benachrichtigt wurden\nhttps://clinic/cases/4\n"
        )
        assert _worded({4: "", 5: ""}, "")[0] == "Dermsentry: 2 Fälle"
        EmailMessage()["Subject"] = subject
    assert _worded({4: ""}, "https://clinic/cases") == (
        "Dermsentry: case 4",
        "Case 4\nhttps://clinic/cases/4\n",
    )


def test_a_language_and_a_time_zone_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clinic.toml").write_text('language = "de"\ntimezone = "Europe/Vienna"\n')
    assert read_settings(tmp_path).language == "de"
    assert Settings().language == "en"
    (tmp_path / "clinic.toml").write_text('language = "tlh"\n')
    with pytest.raises(InputError, match="language: received 'tlh'; expected one of en, de"):
        read_settings(tmp_path)
    (tmp_path / "clinic.toml").write_text('timezone = "Mars/Olympus"\n')
    with pytest.raises(InputError, match="time zone"):
        read_settings(tmp_path)
