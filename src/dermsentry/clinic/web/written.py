"""What a person filled into a form that was not saved, in words: shown again, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from dermsentry.clinic import checklists
from dermsentry.clinic.language import _, day, lazy, translated
from dermsentry.clinic.web import wording
from dermsentry.clinic.worklist.body_map import REGIONS
from dermsentry.clinic.worklist.terms import TERMS

TYPED = {
    "note": lazy("Note"),
    "reason": lazy("Reason"),
    "text": lazy("Comment"),
    "other": lazy("Diagnosis in words"),
    "other_code": lazy("Its code"),
    "breslow": lazy("Breslow thickness"),
    "add": lazy("Tag"),
    "patient": lazy("Patient"),
    "lesion": lazy("Lesion"),
    "named": lazy("Name of the new lesion"),
    "site": lazy("Site"),
    "accession": lazy("Accession number"),
}
"""Of fields into which a person writes, their names."""
CHOSEN = {
    "agrees": lazy("Agrees with the tier"),
    "diagnosis": lazy("Diagnosis"),
    "finer": lazy("Finer"),
    "certainty": lazy("Certainty"),
    "action": lazy("Management"),
    "follow_up_on": lazy("Follow-up on"),
    "method": lazy("Method"),
    "region": lazy("Region"),
    "asymmetry": lazy("ABCD: asymmetry"),
    "border": lazy("ABCD: border"),
    "colours": lazy("ABCD: colours"),
    "structures": lazy("ABCD: structures"),
    "seven_point": lazy("7-point checklist"),
}
"""Of fields in which a person chooses, their names."""


@dataclass(frozen=True)
class Filled:
    """What was filled in, each with the name of its field: what was chosen, in words, and what was typed."""

    chosen: tuple[tuple[str, str], ...]
    typed: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.chosen or self.typed)


def filled_in(given: Mapping[str, str]) -> Filled:
    """What a form holds, in the reader's words; several values of one field are parted by spaces."""
    told = {name: value for name, value in given.items() if value.strip()}
    chosen = [(str(label), _in_words(name, told[name])) for name, label in CHOSEN.items() if name in told]
    if "action" in told and not {"diagnosis", "other"} & told.keys():
        chosen.insert(0, (str(CHOSEN["diagnosis"]), _("no diagnosis")))
    typed = [(str(label), told[name]) for name, label in TYPED.items() if name in told]
    return Filled(tuple(chosen), tuple(typed))


def _in_words(name: str, value: str) -> str:
    """A choice in words; what a form was sent with need not be one, and is shown as it came."""
    if name == "diagnosis":
        return wording.diagnosis(value)
    if name == "region":
        return wording.region(value) if value in REGIONS else value
    if name == "follow_up_on":
        try:
            return day(date.fromisoformat(value.strip()))
        except ValueError:
            return value
    if name == "finer":
        return translated(_FINER.get(value, value))
    if name in _SEVERAL:
        return ", ".join(translated(_SEVERAL[name].get(own, own)) for own in value.split())
    return str(_ONE.get(name, {}).get(value, value))


_FINER = {own.code: own.name for own in TERMS}
_ONE: Mapping[str, Mapping[str, object]] = {
    "agrees": {"yes": lazy("Yes"), "no": lazy("No")},
    "certainty": wording.CERTAINTIES,
    "action": wording.ACTIONS,
    "method": wording.METHODS,
}
_SEVERAL: Mapping[str, Mapping[str, str]] = {
    "colours": checklists.COLOURS,
    "structures": checklists.STRUCTURES,
    "seven_point": {**checklists.CRITERIA, checklists.NONE: "none of the seven"},
}
