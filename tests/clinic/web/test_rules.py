"""The authorisation matrix: every route for every role, for nobody, and for every scope of a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from clinic.web_app import all_routes
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.roles import ROLES
from dermsentry.clinic.store.accounts import MAY, SCOPES
from dermsentry.clinic.web import app as app_module
from dermsentry.clinic.web.app import ROUTERS, create_app
from dermsentry.clinic.web.security import ANYONE, PRESENT, SIGNED_IN, rules

EXPECTED = {
    ("GET", "/static/{name}"): ANYONE,
    ("GET", "/favicon.ico"): ANYONE,
    ("GET", "/api/openapi.json"): ANYONE,
    ("GET", "/health"): ANYONE,
    ("GET", "/sign-in"): ANYONE,
    ("POST", "/sign-in"): ANYONE,
    ("GET", "/first-visit"): ANYONE,
    ("POST", "/first-visit"): ANYONE,
    ("GET", "/sign-in/code"): ANYONE,
    ("POST", "/sign-in/code"): ANYONE,
    ("GET", "/sign-in/openid"): ANYONE,
    ("GET", "/sign-in/openid/answer"): ANYONE,
    ("GET", "/sign-out/openid"): ANYONE,
    ("POST", "/sign-out"): PRESENT,
    ("GET", "/account/first-password"): PRESENT,
    ("POST", "/account/first-password"): PRESENT,
    ("GET", "/account/second-factor"): PRESENT,
    ("POST", "/account/second-factor"): PRESENT,
    ("POST", "/account/second-factor/recovery-codes"): SIGNED_IN,
    ("POST", "/account/second-factor/removal"): SIGNED_IN,
    ("GET", "/status"): SIGNED_IN,
    ("GET", "/"): SIGNED_IN,
    ("GET", "/account"): SIGNED_IN,
    ("POST", "/account/password"): SIGNED_IN,
    ("POST", "/account/language"): SIGNED_IN,
    ("POST", "/account/tokens"): SIGNED_IN,
    ("POST", "/account/tokens/{token_id}/revoke"): SIGNED_IN,
    ("GET", "/accounts"): "administer",
    ("POST", "/accounts"): "administer",
    ("POST", "/accounts/{account_id}"): "administer",
    ("POST", "/accounts/{account_id}/second-factor/reset"): "administer",
    ("GET", "/upload"): "cases:write",
    ("POST", "/upload"): "cases:write",
    ("GET", "/upload/mine"): "cases:write",
    ("GET", "/upload/mine/{case_id}/thumbnail"): "cases:write",
    ("GET", "/worklist/rows"): "cases:read",
    ("GET", "/checklists"): "reads:write",
    ("GET", "/cases/{case_id}"): "cases:read",
    ("GET", "/cases/{case_id}/print"): "cases:read",
    ("GET", "/cases/{case_id}/waiting"): "cases:read",
    ("GET", "/cases/{case_id}/picture/{kind}"): "cases:read",
    ("POST", "/cases/{case_id}/decision"): "reads:write",
    ("POST", "/cases/{case_id}/decision/{read_id}/undo"): "reads:write",
    ("POST", "/cases/{case_id}/amendment"): "reads:write",
    ("POST", "/cases/{case_id}/draft"): "reads:write",
    ("POST", "/account/stay"): PRESENT,
    ("POST", "/cases/{case_id}/lock"): "reads:write",
    ("POST", "/cases/{case_id}/lock/release"): "reads:write",
    ("POST", "/cases/{case_id}/lock/take-over"): "reads:write",
    ("POST", "/cases/{case_id}/assignment"): "reads:write",
    ("POST", "/cases/{case_id}/comments"): "reads:write",
    ("POST", "/cases/{case_id}/follow-up/done"): "reads:write",
    ("POST", "/cases/{case_id}/tags"): "reads:write",
    ("POST", "/routine/review"): "reads:write",
    ("POST", "/routine/discharge"): "reads:write",
    ("POST", "/routine/{batch}/undo"): "reads:write",
    ("POST", "/alerts/review"): "reads:write",
    ("POST", "/alerts/acknowledge"): "reads:write",
    ("POST", "/alerts/{batch}/undo"): "reads:write",
    ("POST", "/cases/{case_id}/acknowledge"): "reads:write",
    ("GET", "/conflicts"): "cases:read",
    ("POST", "/conflicts/{conflict_id}"): "correct",
    ("POST", "/conflicts/matches"): "correct",
    ("POST", "/cases/{case_id}/matches/{match_id}"): "correct",
    ("GET", "/cases/{case_id}/correction"): "correct",
    ("POST", "/cases/{case_id}/correction"): "correct",
    ("POST", "/cases/{case_id}/withdrawal"): "correct",
    ("POST", "/cases/{case_id}/restoration"): "correct",
    ("GET", "/cases/{case_id}/patient"): "cases:read",
    ("POST", "/cases/{case_id}/patient/spellings"): "correct",
    ("POST", "/cases/{case_id}/patient/spellings/{join_id}/undo"): "correct",
    ("POST", "/cases/{case_id}/patient/lesions"): "correct",
    ("POST", "/cases/{case_id}/technique"): "correct",
    ("POST", "/cases/{case_id}/alone"): "correct",
    ("GET", "/cases/{case_id}/compare/{other_id}"): "cases:read",
    ("GET", "/cases/{case_id}/compare/{other_id}/registered"): "cases:read",
    ("GET", "/cases/{case_id}/closely"): "cases:read",
    ("GET", "/cases/{case_id}/tiles/{level}/{place}"): "cases:read",
    ("GET", "/cases/{case_id}/fhir"): "cases:read",
    ("GET", "/cases/{case_id}/structured-report"): "cases:read",
    ("GET", "/cases.csv"): "cases:read",
    ("POST", "/messages/{delivery_id}/again"): "administer",
    ("GET", "/models/{digest}"): "cases:read",
    ("GET", "/alerts"): "cases:read",
    ("GET", "/alerts/new"): "cases:read",
    ("GET", "/outcomes"): "cases:read",
    ("POST", "/outcomes"): "outcomes:write",
    ("POST", "/outcomes/import"): "outcomes:write",
    ("GET", "/performance"): "cases:read",
    ("GET", "/performance/figures"): "cases:read",
    ("GET", "/site-model"): "administer",
    ("POST", "/site-model"): "administer",
    ("POST", "/site-model/withdraw"): "administer",
    ("GET", "/audit"): "audit:read",
    ("POST", "/audit/verification"): "audit:read",
    ("GET", "/audit.csv"): "audit:read",
    ("POST", "/api/cases"): "cases:write",
    ("GET", "/api/cases"): "cases:read",
    ("GET", "/api/cases/{case_id}"): "cases:read",
    ("GET", "/api/cases/{case_id}/picture/{kind}"): "cases:read",
    ("GET", "/api/cases/{case_id}/fhir"): "cases:read",
    ("GET", "/api/cases/{case_id}/structured-report"): "cases:read",
    ("GET", "/api/conflicts"): "cases:read",
    ("GET", "/api/matches"): "cases:read",
    ("POST", "/api/matches/{match_id}/resolution"): "correct",
    ("POST", "/api/conflicts/{conflict_id}/resolution"): "correct",
    ("GET", "/api/cases/{case_id}/corrections"): "cases:read",
    ("POST", "/api/cases/{case_id}/corrections"): "correct",
    ("POST", "/api/cases/{case_id}/withdrawal"): "correct",
    ("POST", "/api/cases/{case_id}/restoration"): "correct",
    ("GET", "/api/exports/outdated"): "cases:read",
    ("GET", "/api/cases.csv"): "cases:read",
    ("GET", "/api/alerts"): "cases:read",
    ("POST", "/api/cases/{case_id}/acknowledgement"): "reads:write",
    ("GET", "/api/performance"): "cases:read",
    ("GET", "/api/cases/{case_id}/decisions"): "cases:read",
    ("POST", "/api/cases/{case_id}/decisions"): "reads:write",
    ("POST", "/api/cases/{case_id}/amendments"): "reads:write",
    ("DELETE", "/api/cases/{case_id}/decisions/{decision_id}"): "reads:write",
    ("GET", "/api/cases/{case_id}/outcomes"): "cases:read",
    ("POST", "/api/cases/{case_id}/outcomes"): "outcomes:write",
    ("GET", "/api/cases/{case_id}/comments"): "cases:read",
    ("POST", "/api/cases/{case_id}/comments"): "reads:write",
    ("GET", "/api/cases/{case_id}/tags"): "cases:read",
    ("POST", "/api/cases/{case_id}/tags"): "reads:write",
    ("DELETE", "/api/cases/{case_id}/tags"): "reads:write",
    ("PUT", "/api/cases/{case_id}/assignment"): "reads:write",
    ("GET", "/api/cases/{case_id}/lock"): "cases:read",
    ("PUT", "/api/cases/{case_id}/lock"): "reads:write",
    ("DELETE", "/api/cases/{case_id}/lock"): "reads:write",
    ("DELETE", "/api/cases/{case_id}/follow-up"): "reads:write",
    ("PUT", "/api/cases/{case_id}/technique"): "correct",
    ("PUT", "/api/cases/{case_id}/alone"): "correct",
    ("GET", "/api/cases/{case_id}/audit"): "audit:read",
    ("GET", "/api/audit"): "audit:read",
    ("GET", "/api/audit/verification"): "audit:read",
}
"""Whom each route is for. A new route belongs in here, or its test fails."""

ROUTES = all_routes()
PAGES = [route for route in ROUTES if not route[1].startswith("/api/")]
CALLS = [route for route in ROUTES if route[1].startswith("/api/") and route[1] != "/api/openapi.json"]
FILLED = {"name": "clinic.css", "kind": "view", "digest": "0" * 64}

PageMaker = Callable[..., TestClient]


def address(path: str) -> str:
    """A path with its places filled; numbers are 1."""
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, FILLED.get(part.strip("{}"), "1"))
    return path


def test_the_table_holds_every_route_of_the_app_and_no_other(app: FastAPI) -> None:
    assert rules(app) == EXPECTED


def test_every_route_stands_in_the_matrix(app: FastAPI) -> None:
    assert set(ROUTES) == set(rules(app))


def test_a_route_without_a_rule_is_refused_at_start(
    clinic: ServedClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter()

    @router.get("/open-door")
    def door() -> str:
        return "come in"

    monkeypatch.setattr(app_module, "ROUTERS", (*ROUTERS, router))
    with pytest.raises(RuntimeError, match="/open-door declares 0 rules"):
        create_app(clinic)


def test_a_part_of_the_app_that_is_no_route_is_refused_at_start(clinic: ServedClinic) -> None:
    app = create_app(clinic)
    app.mount("/side-door", FastAPI())
    with pytest.raises(RuntimeError, match="/side-door"):
        rules(app)


def opens(answer: Response) -> bool:
    """Whether the rule let the request in and what is behind it stood it."""
    return answer.status_code not in (401, 403) and answer.status_code < 500


def envelope(answer: Response, error: str) -> bool:
    return set(answer.json()) == {"error", "detail", "request_id"} and answer.json()["error"] == error


@pytest.mark.parametrize("role", ROLES)
def test_pages_open_to_whom_they_are_for(browser: PageMaker, add_case: Callable[..., int], role: str) -> None:
    add_case("alert", 0.9)
    wrong = []
    for method, path in PAGES:
        # A browser for each: one of them signs out.
        answer = browser(role).request(method, address(path))
        if EXPECTED[method, path] not in (ANYONE, SIGNED_IN, PRESENT, *MAY[role]):
            right = answer.status_code == 403 and role in answer.text
        elif method == "POST" and path in ("/sign-in", "/sign-in/code"):
            right = answer.status_code == 401  # who is signed in may try another account
        elif (method, path) == ("POST", "/first-visit"):
            right = 'action="/first-visit"' in answer.text  # the form again, since it had no token
        else:
            right = opens(answer)
        if not right:
            wrong.append((method, path, answer.status_code))
    assert wrong == []


def test_nobody_gets_no_further_than_the_door(nobody: TestClient, add_case: Callable[..., int]) -> None:
    add_case("alert", 0.9)
    wrong = []
    for method, path in PAGES:
        answer = nobody.request(method, address(path))
        led = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
        if EXPECTED[method, path] == ANYONE:
            # Without the visitor's cookie a form is refused, whoever sends it.
            found = (404,) if "openid" in path and "api" not in path else (200, 303)  # there is no provider
            right = answer.status_code == 403 if method == "POST" else answer.status_code in found
        else:
            right = led if method == "GET" else answer.status_code == 401
        if not right:
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_a_token_reaches_as_far_as_its_owner(
    program: PageMaker, add_case: Callable[..., int], role: str
) -> None:
    add_case("alert", 0.9)
    who, wrong = program(role), []
    for method, path in CALLS:
        answer = who.request(method, address(path))
        allowed = EXPECTED[method, path] in MAY[role]
        if not (opens(answer) if allowed else answer.status_code == 403 and envelope(answer, "forbidden")):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_reaches_no_further_than_its_scope(
    program: PageMaker, add_case: Callable[..., int], scope: str
) -> None:
    add_case("alert", 0.9)
    who, wrong = program("administrator", scope), []
    for method, path in CALLS:
        answer = who.request(method, address(path))
        if not (opens(answer) if EXPECTED[method, path] == scope else answer.status_code == 403):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


def test_without_a_token_or_with_a_cookie_alone_the_api_is_closed(
    nobody: TestClient, browser: PageMaker
) -> None:
    wrong = []
    for who in (nobody, browser("administrator")):
        for header in ("", "Bearer ds_wrong", "Basic YTpi", "Bearer "):
            for method, path in CALLS:
                given = {"authorization": header} if header else {}
                answer = who.request(method, address(path), headers=given)
                asked = answer.headers.get("www-authenticate")
                if (answer.status_code, asked) != (401, "Bearer") or not envelope(answer, "not-signed-in"):
                    wrong.append((method, path, header, answer.status_code))
    assert wrong == []


def test_a_token_opens_no_page(program: PageMaker) -> None:
    who = program("administrator")
    behind_the_door = [route for route in PAGES if EXPECTED[route] != ANYONE]
    wrong = [
        (method, path, answer.status_code)
        for method, path in behind_the_door
        if (answer := who.request(method, address(path), follow_redirects=False)).status_code != 401
    ]
    assert wrong == []
