"""What was decided on photographs of an audit: `decisions.csv`, which its page writes and `split` obeys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from dermsentry.collection import Collection
from dermsentry.csv_tables import read_table
from dermsentry.diagnoses import find_label
from dermsentry.errors import InputError
from dermsentry.stats.numbers import counted

Choice = Literal["keep", "relabel", "leave out"]
COLUMNS = ("path", "image_id", "decision", "diagnosis", "given", "found")
"""Of `decisions.csv`; `path` and `decision` are needed, and `diagnosis` where that is `relabel`."""


@dataclass(frozen=True)
class Decision:
    """What was decided on one photograph.

    Attributes
    ----------
    choice
        `keep`, `relabel` or `leave out`.
    diagnosis
        The new label; `""` unless it is relabelled.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> row = {"path": "Train/nevus/a.jpg", "decision": "leave out"}
    >>> pandas.DataFrame([row]).to_csv("decisions.csv", index=False)
    >>> dermsentry.read_decisions("decisions.csv")["Train/nevus/a.jpg"].choice
    'leave out'
    """

    choice: Choice
    diagnosis: str = ""


def read_decisions(path: str | Path, collection: Collection | None = None) -> dict[str, Decision]:
    """Read a table of decisions, which may be written by hand or by the page of an audit.

    Parameters
    ----------
    path
        A table with `path`, `decision` (`keep`, `relabel` or `leave out`) and, to relabel, `diagnosis`, in
        any way that `find_label` knows. Rows without a decision say nothing.
    collection
        Where given, the collection that every photograph must be in.

    Returns
    -------
    dict
        Path to decision.

    Raises
    ------
    InputError
        A column is missing, a decision or a diagnosis is unknown, a photograph is decided on in two ways, or
        is not in `collection`.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> row = {"path": "Train/nevus/a.jpg", "decision": "relabel", "diagnosis": "melanoma"}
    >>> pandas.DataFrame([row]).to_csv("decisions.csv", index=False)
    >>> dermsentry.read_decisions("decisions.csv")
    {'Train/nevus/a.jpg': Decision(choice='relabel', diagnosis='MEL')}
    """
    table = read_table(Path(path))
    missing = [name for name in ("path", "decision") if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; expected path, decision and diagnosis, as "
            "the page of an audit writes them."
        )
    labels = list(table["diagnosis"]) if "diagnosis" in table.columns else [""] * len(table)
    found: dict[str, Decision] = {}
    for name, said, text in zip(table["path"], table["decision"], labels, strict=True):
        choice = " ".join(said.casefold().replace("_", " ").replace("-", " ").split())
        if not choice:
            continue
        if choice not in get_args(Choice):
            raise InputError(f"{path} decides {said!r} on {name}; expected {', '.join(get_args(Choice))}.")
        label = find_label(text) if text and choice == "relabel" else ""
        if choice == "relabel" and not label:
            raise InputError(f"{path} relabels {name} as {text!r}; expected one of the nine diagnoses.")
        decision = Decision(cast(Choice, choice), label or "")
        if found.setdefault(name, decision) != decision:
            raise InputError(f"{path} decides on {name} in two ways; keep one row of it.")
    if collection is not None:
        outside = sorted(found.keys() - set(collection.table["path"]))
        if outside:
            raise InputError(
                f"{path} decides on {counted(len(outside), 'photograph')} not in {collection.root}, such as "
                f"{outside[0]}."
            )
    return found
