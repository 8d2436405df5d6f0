"""What cases turned out to be, by histology or by follow-up: one at a time, or many from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find, held_case
from dermsentry.clinic.store.events import OutcomeRecordedEvent
from dermsentry.clinic.store.tables import LARGEST_ID, PART, WITHDRAWN, Case, Outcome, Read, now
from dermsentry.clinic.store.text import clean, clean_note, digest_of, folded
from dermsentry.csv_tables import parse_rows
from dermsentry.diagnoses import CODES, MELANOMA, find_label
from dermsentry.errors import InputError

Method = Literal["histology", "follow-up"]
METHODS: tuple[Method, ...] = get_args(Method)
WHOSE = ("patient", "lesion", "accession")
COLUMNS = ("case", *WHOSE, "diagnosis", "method", "breslow_mm", "note")
MOST_LINES = 20_000
LARGEST_BRESLOW_MM = 100.0


@dataclass(frozen=True)
class Imported:
    """What became of a CSV file's lines.

    `recorded`: how many outcomes are new. `unchanged`: how many stood so already. `problems`: the line (the
    header is line 1) and what is wrong with it, of every line that was not used.
    """

    recorded: int
    problems: tuple[tuple[int, str], ...]
    unchanged: int = 0


def record_outcome(
    session: Session,
    clinic: Clinic,
    case_id: int,
    person: Person,
    *,
    diagnosis: str,
    method: str,
    note: str = "",
    patient: str = "",
    lesion: str = "",
    accession: str = "",
    breslow_mm: float | None = None,
) -> Outcome:
    """Record what a case turned out to be; a later outcome of the same case counts instead of it.

    Parameters
    ----------
    diagnosis
        A code, a name or an alias of `dermsentry.diagnoses`; `PBK|SK` where it is one of two.
    method
        `histology` or `follow-up`.
    breslow_mm
        Of a melanoma by histology, its Breslow thickness in millimetres, to 0.01; up to 100.
    patient, lesion, accession
        Whose it is, as whoever sends it knows; where given, it must be the case's.

    Raises
    ------
    NotTheirs
        The case is of another patient, lesion or request.
    InputError
        There is no such case, it was withdrawn, the person may not, or a value cannot be used.
    """
    _allowed(person)
    label, told = _values(diagnosis, method, note)
    breslow_mm = _thickness(breslow_mm, label, method)
    case = held_case(session, case_id)
    _theirs(case, {"patient": patient, "lesion": lesion, "accession": accession})
    return _record(session, clinic, person, case_id, label, method, told, breslow_mm)


def import_outcomes(session: Session, clinic: Clinic, person: Person, text: str) -> Imported:
    """Record the outcomes of a CSV file, with the columns `diagnosis`, `method` and who each is of.

    Who: two of `patient`, `accession` and `case` that agree, and if needed the `lesion`. One alone is not
    enough, nor with a lesion, whose names many patients share: mistyped, it would give histology to a
    stranger unseen. Where several cases fit, the one that awaits histology is meant, or the one that has this
    outcome already. Perhaps `breslow_mm` and a `note`. Commas, semicolons or tabs part columns. Every line
    that cannot be used is told; the others are recorded. The same file imported twice records nothing new.

    Raises
    ------
    InputError
        It is no CSV table, has no such columns, no line, or more than 20,000; or the person may not. Then
        nothing is recorded.
    """
    _allowed(person)
    lines, problems = _read(text)
    hold(session)
    meant: list[tuple[_Line, int]] = []
    first: dict[int, int] = {}
    for line in lines:  # all before any is recorded: a case that awaits histology is found by that
        try:
            case_id = _case_of(session, line)
            if case_id in first:
                raise InputError(f"case {case_id} is on line {first[case_id]} already")
        except InputError as error:
            problems.append((line.number, str(error)))
            continue
        first[case_id] = line.number
        meant.append((line, case_id))
    latest = _latest(session, set(first))
    recorded = unchanged = 0
    for line, case_id in meant:
        if line.is_told_by(latest.get(case_id)):
            unchanged += 1
            continue
        _record(session, clinic, person, case_id, *line.told)
        recorded += 1
    return Imported(recorded, tuple(sorted(problems)), unchanged)


def read_millimetres(text: str) -> float | None:
    """A Breslow thickness as people write it, with a point or a comma; None where it is empty.

    Raises
    ------
    InputError
        It is no number.
    """
    try:
        return float(text.strip().replace(",", ".")) if text.strip() else None
    except ValueError:
        given = clean(text)[:20]
        raise InputError(f"Received the Breslow thickness {given!r}; expected such as 0.4, in mm.") from None


class NotTheirs(InputError):
    """The case is of another patient, lesion or request than was said, or nobody said of whom it is."""


def see_named(case: Case, *, patient: str, accession: str) -> None:
    """See that whoever names a case by its number says whose it is, where the case does.

    Raises
    ------
    NotTheirs
        Nothing was said, so that a mistyped number would not be noticed.
    """
    known = [name for name, own in (("patient", case.patient), ("accession", case.accession)) if own]
    given = {"patient": patient.strip(), "accession": accession.strip()}
    if known and not any(given[name] for name in known):
        raise NotTheirs(
            f"Received neither patient nor accession of case {case.id}; send {' or '.join(known)} as the "
            "case has it, so that a mistyped case number is noticed."
        )


_Told = tuple[str, str, str, float | None]
"""Diagnosis, method, note, Breslow thickness."""


@dataclass(frozen=True)
class _Line:
    number: int
    case_id: int | None
    whose: Mapping[str, str]
    told: _Told

    def is_told_by(self, outcome: _Told | None) -> bool:
        """Whether an outcome says all that the line says; a thickness that is not given differs from none."""
        return outcome is not None and outcome[:3] == self.told[:3] and self.told[3] in (None, outcome[3])


def _read(text: str) -> tuple[list[_Line], list[tuple[int, str]]]:
    """The lines that make sense, and what is wrong with the others."""
    rows = parse_rows(text, "The file")
    _, header = next(rows, (1, []))
    columns = _columns(header) if header else []
    lines: list[_Line] = []
    problems: list[tuple[int, str]] = []
    for number, row in rows:
        if len(lines) + len(problems) >= MOST_LINES:
            raise InputError(f"Received more than {MOST_LINES} lines; import them in parts.")
        try:
            lines.append(_line(number, columns, row))
        except InputError as error:
            problems.append((number, str(error)))
    if not (lines or problems):
        raise InputError(f"The file holds no outcomes; expected the columns {', '.join(COLUMNS)} and a line.")
    return lines, problems


def _columns(row: list[str]) -> list[str]:
    names = [name.casefold() for name in row]
    missing = [name for name in ("diagnosis", "method") if name not in names]
    missing += [] if len({"patient", "accession", "case"} & set(names)) > 1 else ["patient"]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown or len(set(names)) < len(names):
        given = ", ".join(clean(name)[:40] for name in names[:8]) or "nothing"
        raise InputError(
            f"Received the columns {given}; expected two of patient, accession and case, diagnosis, method "
            "and, if wanted, lesion, breslow_mm, note."
        )
    return names


def _line(number: int, columns: list[str], row: list[str]) -> _Line:
    if len(row) != len(columns):
        raise InputError(f"received {len(row)} fields; expected {len(columns)}")
    fields = dict(zip(columns, row, strict=True))
    given = fields.get("case", "").removeprefix("#")
    if given and not (
        given.isascii() and given.isdigit() and 0 < int(given[:12]) <= LARGEST_ID and len(given) < 12
    ):
        raise InputError(f"received the case {clean(given)[:40]!r}; expected a case's number")
    method = fields["method"].casefold()
    label, note = _values(fields["diagnosis"], method, fields.get("note", ""))
    breslow = _thickness(read_millimetres(fields.get("breslow_mm", "")), label, method)
    whose = {name: clean(fields.get(name, "")) for name in WHOSE}
    if not (whose["patient"] or whose["accession"]):
        raise InputError("names neither patient nor accession number, by which a case can be verified")
    if not given and not (whose["patient"] and whose["accession"]):
        if whose["patient"]:
            raise InputError(
                "names the patient alone, and a mistyped one may be another person's; add the accession "
                "number or the case's number"
            )
        raise InputError(
            "names the accession number alone, and a mistyped one may be another person's; add the patient "
            "or the case's number"
        )
    return _Line(number, int(given) if given else None, whose, (label, method, note, breslow))


def _case_of(session: Session, line: _Line) -> int:
    """The case that a line means. Raises InputError where there is none, or several."""
    if line.case_id is not None:
        case = find(session, Case, line.case_id)
        if case is None:
            raise InputError(f"there is no case {line.case_id}")
        _theirs(case, line.whose)
        return case.id
    query = select(func.coalesce(Case.part_of, Case.id)).where(Case.lane != WITHDRAWN)
    for name, value in line.whose.items():
        if value:
            query = query.where(getattr(Case, name) == value)
    found: Sequence[int] = sorted(set(session.scalars(query)))  # what is told of a part is of its case
    if len(found) > 1:
        has = select(Outcome.id).where(Outcome.case_id == Case.id).exists()
        biopsied = select(Read.id).where(
            Read.case_id == Case.id, Read.action == "biopsy", Read.undone_at.is_(None)
        )
        waits = select(Case.id).where(Case.id.in_(found), Case.stage == "decided", biopsied.exists(), ~has)
        told_before = [
            case_id for case_id, told in _latest(session, set(found)).items() if line.is_told_by(told)
        ]
        found = session.scalars(waits.order_by(Case.id)).all() or told_before or found
    if not found:
        told = ", ".join(f"{name} {value}" for name, value in line.whose.items() if value)
        raise InputError(f"there is no case of {told}")
    if len(found) > 1:
        numbers = ", ".join(str(number) for number in found[:5])
        raise InputError(f"fits {len(found)} cases ({numbers}); add the column lesion or case")
    return found[0]


def _theirs(case: Case, whose: Mapping[str, str]) -> None:
    """See that a case is of whom it is said to be, and stands. Raises NotTheirs, InputError."""
    if case.lane == WITHDRAWN:
        raise InputError(f"Case {case.id} was withdrawn.")
    if case.lane == PART:
        raise InputError(f"Case {case.id} is a photograph of case {case.part_of}; name that one.")
    for name, value in whose.items():
        own = getattr(case, name)
        if value and folded(value) != folded(own):
            raise NotTheirs(f"Case {case.id} is not of {name} {value}.")


def _values(diagnosis: str, method: str, note: str) -> tuple[str, str]:
    label = find_label(diagnosis)
    if label is None or len(label) > lengths.CODE:
        given, known = clean(diagnosis)[:40], ", ".join(CODES)
        raise InputError(f"Received the diagnosis {given!r}; expected one of {known}, or its name.")
    if method not in METHODS:
        raise InputError(f"Received the method {clean(method)[:40]!r}; expected {' or '.join(METHODS)}.")
    return label, clean_note(note)


def _thickness(given_mm: float | None, label: str, method: str) -> float | None:
    """A Breslow thickness to 0.01 mm. Raises InputError where there can be none, or not such a one."""
    if given_mm is None:
        return None
    rounded = round(given_mm, 2)
    if not 0 < rounded <= LARGEST_BRESLOW_MM:
        raise InputError(
            f"Received a Breslow thickness of {given_mm:g} mm; expected more than 0 and up to "
            f"{LARGEST_BRESLOW_MM:g}."
        )
    if label != MELANOMA or method != "histology":
        raise InputError("Received a Breslow thickness, which is of a melanoma by histology alone.")
    return rounded


def _latest(session: Session, case_ids: set[int]) -> dict[int, _Told]:
    found = session.scalars(select(Outcome).where(Outcome.case_id.in_(case_ids)).order_by(Outcome.id))
    return {own.case_id: (own.diagnosis, own.method, own.note, own.breslow_mm) for own in found}


def _allowed(person: Person) -> None:
    if "outcomes:write" not in person.may:
        raise InputError("Only dermatologists can record outcomes.")


def _record(
    session: Session,
    clinic: Clinic,
    person: Person,
    case_id: int,
    diagnosis: str,
    method: str,
    note: str,
    breslow_mm: float | None,
) -> Outcome:
    outcome = Outcome(
        case_id=case_id,
        diagnosis=diagnosis,
        method=method,
        note=note,
        breslow_mm=breslow_mm,
        at=now(),
        account_id=person.account_id,
    )
    session.add(outcome)
    session.get_one(Case, case_id).revision += 1
    session.flush()
    event = OutcomeRecordedEvent(case_id, outcome.id, diagnosis, method, digest_of(note), breslow_mm)
    append(session, clinic.trail, person.name, event)
    return outcome
