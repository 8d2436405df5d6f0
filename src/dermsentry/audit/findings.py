"""Everything that an audit found, as one list: for a page to go through, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dermsentry.audit.audit import Audit
from dermsentry.audit.content import KINDS as CONTENT
from dermsentry.audit.leaks import AuditedPhotograph, in_several_splits, place
from dermsentry.collection import Collection
from dermsentry.diagnoses import name_of
from dermsentry.files import csv_line, whole_file

KINDS = {
    "conflicts": "Conflicting labels",
    "leaks": "In more than one split",
    "shared_lesions": "Lesion or patient in more than one split",
    "reference": "Label that the reference contradicts",
    "doubtful": "Doubtful duplicates",
    "near": "Near-identical",
    "identical": "Same pixels",
    **{f"content: {kind}": title for kind, title in CONTENT.items()},
    "table": "What the table says",
    "unreadable": "Unreadable",
}
"""What is found, in the order of the list, with how it is called."""
COLUMNS = ("finding", "kind", "told", "path", "diagnosis", "split")


@dataclass(frozen=True)
class Found:
    """One finding: its kind (of `KINDS`), what more there is to tell, and the photographs it is about."""

    kind: str
    told: str
    photographs: tuple[AuditedPhotograph, ...]


def list_findings(audit: Audit, collection: Collection) -> list[Found]:
    """Each finding of an audit, what corrupts a result first."""
    placed = place(collection.table)
    return [*_corrupting(audit, placed), *_others(audit, placed)]


def _corrupting(audit: Audit, placed: Mapping[str, AuditedPhotograph]) -> Iterator[Found]:
    for group in sorted(audit.conflicts, key=lambda group: not in_several_splits(group.photographs)):
        yield Found("conflicts", "", group.photographs)
    for leak in audit.leaks:
        yield Found("leaks", "", leak.photographs)
    for shared in audit.shared_lesions:
        yield Found("shared_lesions", f"{shared.of} {shared.name}", shared.photographs)
    for wrong in sorted(audit.label_disagreements, key=lambda own: (own.split != "test", own.path)):
        told = f"{name_of(wrong.reference)} in the reference"
        yield Found("reference", told, _of([wrong.path], placed))


def _others(audit: Audit, placed: Mapping[str, AuditedPhotograph]) -> Iterator[Found]:
    for doubtful in audit.doubtful:
        yield Found("doubtful", "", _of(doubtful.photographs, placed))
    for kind in ("near", "identical"):
        for group in audit.duplicates:
            if group.kind == kind:
                same = "" if kind == "near" or group.same_bytes else "other bytes, same pixels"
                yield Found(kind, same, _of(group.photographs, placed))
    for own in () if audit.content is None else audit.content.findings:
        yield Found(f"content: {own.kind}", own.told, _of([own.path], placed))
    for problem in audit.table_problems:
        yield Found("table", problem.told, _of(problem.photographs, placed))
    for file in (*audit.unreadable, *audit.not_read):
        yield Found("unreadable", file.reason, _of([file.path], placed))


def _of(paths: Iterable[str], placed: Mapping[str, AuditedPhotograph]) -> tuple[AuditedPhotograph, ...]:
    """The photographs of paths; one that is not in the table has no label."""
    return tuple(placed.get(path) or AuditedPhotograph(path, "", "") for path in paths)


def write_table(found: Iterable[Found], out: Path) -> None:
    """Write `findings.csv`, and `findings.parquet` where the extra `parquet` is installed.

    A row for each photograph of a finding; `finding` numbers them from 1. Raises OutputError.
    """
    rows = [
        (number, own.kind, own.told, one.path, one.diagnosis, one.split)
        for number, own in enumerate(found, 1)
        for one in own.photographs
    ]
    with (
        whole_file(out / "findings.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        file.write(csv_line(COLUMNS))
        file.writelines(csv_line(row) for row in rows)
    if find_spec("pyarrow") is None:
        return
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    values = [
        pyarrow.array(columns[0], pyarrow.int64()),
        *(pyarrow.array([_utf8(text) for text in column], pyarrow.string()) for column in columns[1:]),
    ]
    with whole_file(out / "findings.parquet") as temporary:
        parquet.write_table(pyarrow.table(values, names=list(COLUMNS)), temporary)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
