"""Each kind of event says what trails have always held, and is documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dermsentry.clinic.store import events
from dermsentry.clinic.store.audit_trail import Trail, append
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.events import TrailEvent

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to-run-a-clinic.md"
_MESSAGE = (7, 5, "email", 2)
_READ = (7, 4, 1, None, "", "biopsy", "decided", None, "", "ef", "gh", "", "high", "2027-01-31")
_SCORES = (None, {"score": 3})
HELD = [
    (events.ServerStartedEvent("1.0", "ab", 2, False), "server started", "server",
     '{"model": "ab", "silent": false, "version": "1.0", "workers": 2}'),
    (events.ServerStoppedEvent("1.0"), "server stopped", "server", '{"version": "1.0"}'),
    (events.ReceivedEvent(7, "ab", "page", "P", "A", "arm", "", "overview", "ef"), "received", "case 7",
     '{"accession": "", "lesion": "A", "note_sha256": "ef", "patient": "P", "sha256": "ab", "site": "arm", '
     '"source": "page", "technique": "overview"}'),
    (events.ReceivedAgainEvent(7, "api", "P", "A", "arm", "", "n", "", "ef"), "received again", "case 7",
     '{"accession": "", "lesion": "A", "note": "n", "note_sha256": "ef", "patient": "P", "site": "arm", '
     '"source": "api", "technique": ""}'),
    (events.HeldEvent(7, "api", "P", "A", "arm", "", "n", "", "ef", 3, ["patient"]), "held", "case 7",
     '{"accession": "", "conflict": 3, "differs": ["patient"], "lesion": "A", "note": "n", '
     '"note_sha256": "ef", "patient": "P", "site": "arm", "source": "api", "technique": ""}'),
    (events.ConflictSettledEvent(7, 3, "kept", "why", "ef"), "conflict settled", "case 7",
     '{"conflict": 3, "note_sha256": "ef", "reason": "why", "resolution": "kept"}'),
    (events.MatchFoundEvent(7, 3, 2, 0.875, True, True), "match found", "case 7",
     '{"agreement": 0.875, "in_place": true, "match": 3, "other": 2, "patients": true}'),
    (events.MatchSettledEvent(7, 3, 2, "different", "why"), "match settled", "case 7",
     '{"match": 3, "other": 2, "reason": "why", "resolution": "different"}'),
    (events.CaseCorrectedEvent(7, {"patient": "P"}, {"patient": "Q"}, "why"), "corrected", "case 7",
     '{"after": {"patient": "Q"}, "before": {"patient": "P"}, "reason": "why"}'),
    (events.CaseWithdrawnEvent(7, "why"), "withdrawn", "case 7", '{"reason": "why"}'),
    (events.CaseRestoredEvent(7, "why"), "restored", "case 7", '{"reason": "why"}'),
    (events.SpellingsJoinedEvent(3, "patient", "S-1", "S-1", "s-1"), "spellings joined", "spelling 3",
     '{"first": "S-1", "kind": "patient", "patient": "S-1", "second": "s-1"}'),
    (events.SpellingsKeptApartEvent(3, "lesion", "S-1", "L1", "l1"), "spellings kept apart", "spelling 3",
     '{"first": "L1", "kind": "lesion", "patient": "S-1", "second": "l1"}'),
    (events.SpellingsUndoneEvent(3, "lesion", "S-1", "L1", "l1"), "spellings undone", "spelling 3",
     '{"first": "L1", "kind": "lesion", "patient": "S-1", "second": "l1"}'),
    (events.LesionFiledEvent(2, "S-1", "L1", "front", "face", 100.0, 40.5), "lesion filed", "body site 2",
     '{"lesion": "L1", "patient": "S-1", "region": "face", "view": "front", "x": 100.0, "y": 40.5}'),
    (events.PatientViewedEvent(7, [7, 9]), "patient viewed", "case 7", '{"shown": [7, 9]}'),
    (events.TechniqueSetEvent(7, "", "polarised"), "technique set", "case 7",
     '{"after": "polarised", "before": ""}'),
    (events.AlertMovedEvent(7, "melanoma suspected", 6), "alert moved", "case 7",
     '{"rule": "melanoma suspected", "to": 6}'),
    (events.PartJoinedEvent(7, 6), "part joined", "case 7", '{"part_of": 6}'),
    (events.PartSeparatedEvent(7, 6, True), "part separated", "case 7", '{"alone": true, "part_of": 6}'),
    (events.ScreenedEvent(7, "alert", 0.5, "ab", 0.1, "cd"), "screened", "case 7",
     '{"finding": "cd", "melanoma": 0.5, "model": "ab", "threshold": 0.1, "tier": "alert"}'),
    (events.ScreenedSilentlyEvent(7, "alert", 0.5, "ab", 0.1, "cd"), "screened silently", "case 7",
     '{"finding": "cd", "melanoma": 0.5, "model": "ab", "threshold": 0.1, "tier": "alert"}'),
    (events.FindingShownEvent(7), "finding shown", "case 7", "{}"),
    (events.ModelAdoptedEvent("cd", "ab", 0.95, 0.95, 64, 0.1), "model adopted", "model",
     '{"confidence": 0.95, "instead_of": "ab", "melanomas": 64, "model": "cd", "sensitivity": 0.95, '
     '"threshold": 0.1}'),
    (events.ModelWithdrawnEvent("ab", "cd"), "site model withdrawn", "model",
     '{"instead_of": "cd", "model": "ab"}'),
    (events.AlertRaisedEvent(7, "a rule"), "alert raised", "case 7", '{"rule": "a rule"}'),
    (events.AlertEscalatedEvent(7, "a rule"), "alert escalated", "case 7", '{"rule": "a rule"}'),
    (events.AlertAcknowledgedEvent(7, "a rule"), "alert acknowledged", "case 7", '{"rule": "a rule"}'),
    (events.AlertReopenedEvent(7, "a rule"), "alert opened again", "case 7", '{"rule": "a rule"}'),
    (events.MessageSentEvent(*_MESSAGE), "message sent", "case 7",
     '{"attempt": 2, "channel": "email", "delivery": 5}'),
    (events.MessageNotSentEvent(*_MESSAGE, "no"), "message not sent", "case 7",
     '{"attempt": 2, "channel": "email", "delivery": 5, "problem": "no"}'),
    (events.MessageGivenUpEvent(*_MESSAGE, "no"), "message given up", "case 7",
     '{"attempt": 2, "channel": "email", "delivery": 5, "problem": "no"}'),
    (events.MessageQueuedAgainEvent(7, 5), "message queued again", "case 7", '{"delivery": 5}'),
    (events.ReadEvent(*_READ, *_SCORES), "read", "case 7",
     '{"abcd": null, "action": "biopsy", "agrees": null, "batch": "gh", '
     '"certainty": "high", "diagnosis": "", "finer": "", "follow_up_on": "2027-01-31", '
     '"model": null, "note_sha256": "ef", "position": 1, '
     '"read": 4, "seven_point": {"score": 3}, "stage": "decided", "tier": ""}'),
    (events.ReadAmendedEvent(*_READ, *_SCORES, "why"), "read amended", "case 7",
     '{"abcd": null, "action": "biopsy", "agrees": null, "batch": "gh", '
     '"certainty": "high", "diagnosis": "", "finer": "", "follow_up_on": "2027-01-31", '
     '"model": null, "note_sha256": "ef", "position": 1, '
     '"read": 4, "reason": "why", "seven_point": {"score": 3}, "stage": "decided", "tier": ""}'),
    (events.ReadUndoneEvent(*_READ, *_SCORES), "read undone", "case 7",
     '{"abcd": null, "action": "biopsy", "agrees": null, "batch": "gh", '
     '"certainty": "high", "diagnosis": "", "finer": "", "follow_up_on": "2027-01-31", '
     '"model": null, "note_sha256": "ef", "position": 1, '
     '"read": 4, "seven_point": {"score": 3}, "stage": "decided", "tier": ""}'),
    (events.OutcomeRecordedEvent(7, 3, "MEL", "histology", "ef", 0.4), "outcome recorded", "case 7",
     '{"breslow_mm": 0.4, "diagnosis": "MEL", "method": "histology", "note_sha256": "ef", "outcome": 3}'),
    (events.FollowUpDoneEvent(7, "2027-01-31"), "follow-up done", "case 7", '{"planned": "2027-01-31"}'),
    (events.AssignedEvent(7, "anna", "bea"), "assigned", "case 7", '{"from": "anna", "to": "bea"}'),
    (events.LockTakenOverEvent(7, "anna"), "taken over", "case 7", '{"from": "anna"}'),
    (events.CommentedEvent(7, 2, "ab"), "commented", "case 7", '{"comment": 2, "text_sha256": "ab"}'),
    (events.TaggedEvent(7, "teaching"), "tagged", "case 7", '{"tag": "teaching"}'),
    (events.UntaggedEvent(7, "teaching"), "tag removed", "case 7", '{"tag": "teaching"}'),
    (events.CaseViewedEvent(7), "viewed", "case 7", "{}"),
    (events.CasesListedEvent("cases", {"search": "P-1"}), "listed", "cases",
     '{"filter": {"search": "P-1"}, "what": "cases"}'),
    (events.CaseExportedEvent(7, "FHIR"), "exported", "case 7", '{"as": "FHIR"}'),
    (events.CasesExportedEvent("CSV", False, None, "2026-01-31T00:00:00+00:00"), "exported", "cases",
     '{"as": "CSV", "personal": false, "since": null, "until": "2026-01-31T00:00:00+00:00"}'),
    (events.TrailExportedEvent("CSV"), "exported", "audit trail", '{"as": "CSV"}'),
    (events.SignedInEvent("anna", "::1", "password"), "signed in", "account anna",
     '{"address": "::1", "means": "password"}'),
    (events.SignInRefusedEvent("anna", "::1"), "sign-in refused", "account anna", '{"address": "::1"}'),
    (events.CodeRefusedEvent("anna", "::1"), "second factor refused", "account anna", '{"address": "::1"}'),
    (events.OpenIdRefusedEvent("::1", "no", "a1"), "sign-in refused", "OpenID Connect",
     '{"address": "::1", "person": "a1", "problem": "no"}'),
    (events.SignedOutEvent("anna"), "signed out", "account anna", "{}"),
    (events.AccountAddedEvent("anna", "uploader"), "account added", "account anna",
     '{"issuer": "", "person": "", "role": "uploader"}'),
    (events.RoleChangedEvent("anna", "uploader", "dermatologist"), "role changed", "account anna",
     '{"from": "uploader", "to": "dermatologist"}'),
    (events.AccountOpenedEvent("anna"), "account opened", "account anna", "{}"),
    (events.AccountClosedEvent("anna"), "account closed", "account anna", "{}"),
    (events.PasswordChangedEvent("anna"), "password changed", "account anna", "{}"),
    (events.PasswordGivenEvent("anna"), "password given", "account anna", "{}"),
    (events.SecondFactorSetEvent("anna"), "second factor set up", "account anna", "{}"),
    (events.SecondFactorRemovedEvent("anna"), "second factor removed", "account anna", "{}"),
    (events.SecondFactorResetEvent("anna"), "second factor reset", "account anna", "{}"),
    (events.RecoveryCodesMadeEvent("anna"), "recovery codes made", "account anna", "{}"),
    (events.RecoveryCodeUsedEvent("anna", 9), "recovery code used", "account anna", '{"left": 9}'),
    (events.TokenMadeEvent("anna", 2, ["cases:read"]), "token made", "account anna",
     '{"scopes": ["cases:read"], "token": 2}'),
    (events.TokenRevokedEvent("anna", 2), "token revoked", "account anna", '{"token": 2}'),
]  # fmt: skip


def kinds() -> set[type[TrailEvent]]:
    found = [own for own in vars(events).values() if isinstance(own, type) and issubclass(own, TrailEvent)]
    return {own for own in found if "action" in vars(own)}


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def test_events_are_written_as_they_always_were(engine: Engine, trail: Trail) -> None:
    assert {type(event) for event, *_ in HELD} == kinds()
    with writing(engine) as session:
        for event, *expected in HELD:
            kept = append(session, trail, "anna", event)
            assert [kept.action, kept.subject, kept.detail] == expected


def test_every_kind_of_event_is_documented_with_what_it_tells() -> None:
    section = re.search(r"^## The audit trail$(.*?)^## ", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert section
    rows = [line.split("|")[1:4] for line in section[1].splitlines() if line.startswith("| `")]
    documented = {
        action: set(re.findall(r"`(\w+)`", row[2].replace("`cases`", "")))
        for row in rows
        for action in re.findall(r"`([^`]+)`", row[0])
    }
    told: dict[str, set[str]] = {}
    for _, action, _, detail in HELD:
        told.setdefault(action, set()).update(json.loads(detail))
    assert documented == told
