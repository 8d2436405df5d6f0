"""Signing in through an OpenID provider: a real one, in every way that it can be wrong or away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from joserfc.jwk import RSAKey
from sqlalchemy import Engine, select

from clinic.openid_provider import (
    CLIENT,
    SECRET,
    TestProvider,
    changed,
    running_provider,
    signed_by_another,
    signed_with_the_public_key,
    unsigned,
)
from clinic.web_app import PASSWORD, client, shown
from dermsentry.clinic.settings import OpenId, OpenIdRoles, Settings
from dermsentry.clinic.store.accounts import add_account, check_password
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Account, Event, SignIn
from dermsentry.clinic.web import openid as openid_module
from dermsentry.clinic.web.pages.openid import WAY
from dermsentry.clinic.web.security import COOKIE

Maker = Callable[..., TestClient]


@pytest.fixture
def provider() -> Iterator[TestProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def settings(provider: TestProvider, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DERMSENTRY_OPENID_SECRET", SECRET)
    roles = OpenIdRoles(dermatologist=("derm", "derm-senior"), administrator=("it",))
    openid = OpenId(issuer=provider.issuer, client_id=CLIENT, name="the hospital", roles=roles)
    return Settings(openid=openid, link="https://worklist.example/")


@pytest.fixture(autouse=True)
def ada(engine: Engine) -> int:
    """The administrator with a password, for when the provider is away."""
    with writing(engine) as session:
        return add_account(session, "ada", "Ada", "administrator", PASSWORD).id


def go(app: FastAPI, provider: TestProvider, who: TestClient | None = None) -> Response:
    """Sign in: to the provider, through its page, and back."""
    who = who or client(app)
    left = who.get("/sign-in/openid?next=/alerts")
    assert left.status_code == 303, left.text
    code, state = provider.authorize(left.headers["location"])
    return who.get("/sign-in/openid/answer", params={"code": code, "state": state})


def told(engine: Engine) -> list[tuple[str, str, str]]:
    with reading(engine) as session:
        events = session.scalars(select(Event).order_by(Event.id))
        return [(event.action, event.subject, event.detail) for event in events]


def test_the_first_time_makes_an_account_of_the_role_that_the_group_has(
    app: FastAPI, engine: Engine, provider: TestProvider, trail: Trail
) -> None:
    provider.person = {
        "sub": "a1",
        "groups": ["x", "derm"],
        "preferred_username": "Anna",
        "name": "Dr Anna Berg",
    }
    who = client(app)
    page = shown(who.get("/sign-in?next=/alerts"))
    assert page.select_one("a.button")["href"] == "/sign-in/openid?next=%2Falerts"
    assert page.select_one("#password") is not None  # who has a password here still can
    answer = go(app, provider, who)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    cookies = answer.headers.get_list("set-cookie")
    assert any(own.startswith(f"{COOKIE}=") and "HttpOnly" in own for own in cookies)
    assert any(own.startswith(f'{WAY}=""') for own in cookies)
    assert who.get("/alerts").status_code == 200
    with reading(engine) as session:
        account = session.scalars(select(Account).where(Account.name == "anna")).one()
        assert (account.full_name, account.role, account.password_hash) == (
            "Dr Anna Berg",
            "dermatologist",
            "",
        )
        assert (account.openid_issuer, account.openid_subject) == (provider.issuer, "a1")
        assert check_password(session, "anna", "") is None
        assert verify(session, trail).problems == ()
    assert [action for action, *_ in told(engine)] == ["account added", "signed in"]
    assert '"means": "OpenID Connect"' in told(engine)[-1][2]


def test_the_provider_is_asked_as_the_standards_say(
    app: FastAPI, provider: TestProvider, engine: Engine
) -> None:
    address = client(app).get("/sign-in/openid").headers["location"]
    assert "redirect_uri=https%3A%2F%2Fworklist.example%2Fsign-in%2Fopenid%2Fanswer" in address
    assert SECRET not in address
    code, state = provider.authorize(address)
    # Another browser has neither state nor code verifier.
    stray = client(app).get("/sign-in/openid/answer", params={"code": code, "state": state})
    assert stray.status_code == 400
    assert "/token" not in provider.asked


def test_the_same_person_comes_back_to_the_same_account_whatever_they_are_called(
    app: FastAPI, engine: Engine, provider: TestProvider
) -> None:
    for name in ("anna", "anna.berg"):
        provider.person = {"sub": "a1", "groups": ["derm"], "preferred_username": name}
        assert go(app, provider).status_code == 303
    with reading(engine) as session:
        assert session.scalars(select(Account.name).order_by(Account.id)).all() == ["ada", "anna"]


def test_nobody_gets_an_account_by_its_name(app: FastAPI, engine: Engine, provider: TestProvider) -> None:
    names = ["ada", "ADA", "system", " ", "Ä/ö:x", "x" * 200, "ada-2"]
    for number, name in enumerate(names):
        provider.person = {
            "sub": f"s{number}",
            "groups": ["derm"],
            "preferred_username": name,
            "email": "a@b.example",
        }
        who = client(app)
        assert go(app, provider, who).status_code == 303
        assert who.get("/accounts").status_code == 403
    with reading(engine) as session:
        made = session.scalars(select(Account).order_by(Account.id)).all()
        assert [own.name for own in made[:4]] == ["ada", "ada-2", "ada-3", "system-2"]
        assert made[4].name == "a@b.example"
        assert len({own.name for own in made}) == len(names) + 1
        assert made[0].openid_issuer is None


def test_a_group_that_changes_changes_the_role_and_none_lets_nobody_in(
    app: FastAPI, engine: Engine, provider: TestProvider, trail: Trail, tmp_path: Any
) -> None:
    who = client(app)
    assert go(app, provider, who).status_code == 303
    assert who.get("/accounts").status_code == 403
    provider.person["groups"] = ["derm", "it"]  # the higher of two
    assert go(app, provider).status_code == 303
    assert who.get("/accounts").status_code == 200
    for groups in ([], ["others"], None, 7, {"derm": True}):
        provider.person["groups"] = groups
        refused = go(app, provider)
        assert refused.status_code == 403
        assert "none of your groups" in refused.text
    assert who.get("/").status_code == 303  # sessions from before ended too
    actions = told(engine)
    assert ("role changed", "account a1", '{"from": "dermatologist", "to": "administrator"}') in actions
    assert actions[-1][:2] == ("sign-in refused", "OpenID Connect")
    assert '"problem": "no group has a role"' in actions[-1][2]
    assert '"person": "a1"' in actions[-1][2]
    with reading(engine) as session:
        assert [problem for problem in verify_records(session, None) if "account ada " not in problem] == []
    with writing(engine) as session:  # who puts another person behind an account is found
        session.scalars(select(Account).where(Account.name == "a1")).one().openid_subject = "b2"
    with reading(engine) as session:
        assert any(
            "account a1" in problem and "person" in problem for problem in verify_records(session, None)
        )


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "nonce": lambda claims: claims.update(nonce="another"),
    "no nonce": lambda claims: claims.pop("nonce"),
    "audience": lambda claims: claims.update(aud="another service"),
    "two audiences, for another": lambda claims: claims.update(aud=["other", CLIENT], azp="other"),
    "two audiences, for nobody": lambda claims: claims.update(aud=["other", CLIENT]),
    "no audience": lambda claims: claims.pop("aud"),
    "issuer": lambda claims: claims.update(iss="https://evil.example"),
    "expired": lambda claims: claims.update(exp=claims["iat"] - 120),
    "no expiry": lambda claims: claims.pop("exp"),
    "not yet": lambda claims: claims.update(nbf=claims["iat"] + 3600),
    "nobody": lambda claims: claims.pop("sub"),
    "a number": lambda claims: claims.update(sub=7),
    "endless": lambda claims: claims.update(sub="x" * 300),
    "another access token": lambda claims: claims.update(at_hash="AAAA"),
}
FORGERIES: dict[str, Callable[[TestProvider], Callable[[str], str]]] = {
    "changed": lambda _: changed,
    "unsigned": lambda _: unsigned,
    "another key": lambda _: signed_by_another,
    "public key as secret": signed_with_the_public_key,
    "no token": lambda _: lambda _: "",
    "nonsense": lambda _: lambda _: "a.b.c",
}


def let_nobody_in(answer: Response, engine: Engine) -> None:
    assert answer.status_code == 403
    assert "did not confirm who you are" in answer.text
    assert not any(own.startswith(f"{COOKIE}=") for own in answer.headers.get_list("set-cookie"))
    assert told(engine)[-1][:2] == ("sign-in refused", "OpenID Connect")
    with reading(engine) as session:
        assert session.scalars(select(Account.name)).all() == ["ada"]
        assert session.scalars(select(SignIn)).all() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_claims_that_are_not_right_let_nobody_in(
    app: FastAPI, engine: Engine, provider: TestProvider, fault: str
) -> None:
    provider.spoil = FAULTS[fault]  # type: ignore[assignment]
    let_nobody_in(go(app, provider), engine)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_tokens_that_the_provider_did_not_sign_let_nobody_in(
    app: FastAPI, engine: Engine, provider: TestProvider, forgery: str
) -> None:
    provider.forge = FORGERIES[forgery](provider)
    let_nobody_in(go(app, provider), engine)


def test_a_code_counts_once_and_only_for_whom_it_was_made(
    app: FastAPI, engine: Engine, provider: TestProvider
) -> None:
    victim, eve = client(app), client(app)
    code, _ = provider.authorize(victim.get("/sign-in/openid").headers["location"])
    _, state = provider.authorize(eve.get("/sign-in/openid").headers["location"])
    let_nobody_in(eve.get("/sign-in/openid/answer", params={"code": code, "state": state}), engine)
    # The other way round, a code of Eve's is not taken in the victim's browser: the state is not its own.
    assert victim.get("/sign-in/openid/answer", params={"code": "eves", "state": state}).status_code == 400


@pytest.mark.parametrize("given", [{"error": "access_denied"}, {}])
def test_who_is_not_let_in_there_is_not_let_in_here(
    app: FastAPI, engine: Engine, provider: TestProvider, given: dict[str, str]
) -> None:
    who = client(app)
    _, state = provider.authorize(who.get("/sign-in/openid").headers["location"])
    let_nobody_in(who.get("/sign-in/openid/answer", params={**given, "state": state}), engine)


def test_a_token_for_several_services_among_them_this_one_is_right(
    app: FastAPI, provider: TestProvider
) -> None:
    provider.spoil = lambda claims: claims.update(aud=["other", CLIENT], azp=CLIENT)
    assert go(app, provider).status_code == 303


def test_a_new_key_of_the_provider_is_fetched(app: FastAPI, provider: TestProvider) -> None:
    assert go(app, provider).status_code == 303
    assert go(app, provider).status_code == 303
    assert provider.asked.count("/keys") == provider.asked.count("/.well-known/openid-configuration") == 1
    provider.published, provider.key = [provider.key], RSAKey.generate_key(2048, {"kid": "two"})
    assert go(app, provider).status_code == 303
    assert provider.asked.count("/keys") == 2


def test_groups_are_found_where_the_settings_say(
    app: FastAPI, provider: TestProvider, engine: Engine
) -> None:
    provider.metadata["userinfo_endpoint"] = f"{provider.issuer}/userinfo"
    del provider.person["groups"]
    provider.userinfo = {"sub": "a1", "groups": "derm", "name": "Anna"}
    assert go(app, provider).status_code == 303
    with reading(engine) as session:
        assert session.scalars(select(Account.full_name)).all() == ["Ada", "Anna"]
    provider.userinfo = {"sub": "another", "groups": ["it"]}
    assert go(app, provider).status_code == 403


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["derm"]}}),
        ("https://x.example/groups", {"https://x.example/groups": ["derm"]}),
    ],
)
def test_a_claim_may_be_a_path_or_hold_dots(
    app: FastAPI, provider: TestProvider, settings: Settings, name: str, claims: dict[str, Any]
) -> None:
    from dermsentry.clinic.web.openid import Provider

    openid = settings.openid.model_copy(update={"groups": name})
    app.state.provider = Provider(openid, SECRET, settings.link)
    provider.person = {"sub": "a1"} | claims
    assert go(app, provider).status_code == 303


def test_while_the_provider_is_away_the_administrator_gets_in(
    app: FastAPI, provider: TestProvider, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.broken = True
    who = client(app)
    for _ in range(3):
        answer = who.get("/sign-in/openid?next=/alerts")
        assert answer.status_code == 503
        assert "cannot be reached" in answer.text
        assert int(answer.headers["retry-after"]) > 0
    assert len(provider.asked) == 1  # one that is away is not asked at each click
    page = shown(answer)
    assert page.select_one("[name=next]")["value"] == "/alerts"
    csrf = page.select_one("[name=csrf]")["value"]
    signed = who.post("/sign-in", data={"name": "ada", "password": PASSWORD, "csrf": csrf, "next": "/"})
    assert signed.status_code == 303
    provider.broken = False
    monkeypatch.setattr(openid_module, "AWAY_S", 0.0)
    assert go(app, provider).status_code == 303


def test_a_provider_that_goes_away_between_there_and_back_is_said_to_be_away(
    app: FastAPI, provider: TestProvider, engine: Engine
) -> None:
    who = client(app)
    code, state = provider.authorize(who.get("/sign-in/openid").headers["location"])
    provider.broken = True
    answer = who.get("/sign-in/openid/answer", params={"code": code, "state": state})
    assert answer.status_code == 503
    assert told(engine) == []


def test_a_port_where_nobody_listens_is_a_provider_that_is_away(app: FastAPI, provider: TestProvider) -> None:
    provider.metadata["token_endpoint"] = "http://127.0.0.1:1/token"
    assert go(app, provider).status_code == 503


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_a_provider_that_is_another_or_incomplete_is_not_used(
    app: FastAPI, provider: TestProvider, wrong: dict[str, Any]
) -> None:
    provider.metadata |= wrong
    assert client(app).get("/sign-in/openid").status_code == 503


def test_a_closed_account_stays_closed(
    app: FastAPI, provider: TestProvider, engine: Engine, browser: Maker
) -> None:
    assert go(app, provider).status_code == 303
    with reading(engine) as session:
        number = session.scalars(select(Account.id).where(Account.name == "a1")).one()
    assert (
        browser("administrator", "ada").post(f"/accounts/{number}", data={"state": "closed"}).status_code
        == 303
    )
    answer = go(app, provider)
    assert answer.status_code == 403
    assert "closed" in answer.text


def test_an_administrator_cannot_change_what_the_provider_says(
    app: FastAPI, provider: TestProvider, engine: Engine, browser: Maker
) -> None:
    provider.person["groups"] = ["it"]
    assert go(app, provider).status_code == 303
    with reading(engine) as session:
        number = session.scalars(select(Account.id).where(Account.name == "a1")).one()
    who = browser("administrator", "ada")
    for wrong in ({"role": "uploader"}, {"password": "correct horse battery"}):
        answer = who.post(f"/accounts/{number}", data=wrong)
        assert answer.status_code == 422
    page = shown(who.get("/accounts"))
    assert page.select_one(f"#role-{number}") is None
    assert page.select_one(f"#password-{number}") is None
    # The last one with a password stays, though the provider has an administrator too.
    with reading(engine) as session:
        ada = session.scalars(select(Account.id).where(Account.name == "ada")).one()
    for wrong in ({"role": "uploader"}, {"state": "closed"}):
        assert who.post(f"/accounts/{ada}", data=wrong).status_code == 422


def test_who_came_through_the_provider_has_no_password_and_no_second_factor_here(
    app: FastAPI, provider: TestProvider
) -> None:
    who = client(app)
    assert go(app, provider, who).status_code == 303
    page = shown(who.get("/account"))
    assert page.select_one("#password") is None
    assert "the hospital" in page.get_text()
    assert who.get("/account/second-factor").headers["location"] == "/account"


def test_signing_out_leads_to_signing_out_there(app: FastAPI, provider: TestProvider) -> None:
    provider.metadata["end_session_endpoint"] = f"{provider.issuer}/logout"
    who = client(app)
    go(app, provider, who)
    who.headers["x-csrf-token"] = shown(who.get("/account")).select_one("[name=csrf]")["value"]
    left = who.post("/sign-out")
    assert left.headers["location"] == "/sign-in?left=true"
    del who.headers["x-csrf-token"]
    assert "sign-in with the hospital may still be open" in who.get("/sign-in?left=true").text
    address = urlsplit(who.get("/sign-out/openid").headers["location"])
    assert address.path == "/logout"
    assert f"client_id={CLIENT}" in address.query
    assert "post_logout_redirect_uri=https%3A%2F%2Fworklist.example%2Fsign-in" in address.query


def test_nothing_secret_is_logged_or_kept(
    app: FastAPI, provider: TestProvider, engine: Engine, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "dermsentry")
    who = client(app)
    left = who.get("/sign-in/openid")
    code, state = provider.authorize(left.headers["location"])
    way = who.cookies[WAY]
    who.get("/sign-in/openid/answer", params={"code": code, "state": state})
    provider.spoil = lambda claims: claims.update(nonce="another")
    go(app, provider)
    secrets = [SECRET, code, state, way, who.cookies[COOKIE], *provider.tokens]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("clinic.sqlite*")).decode("latin1")
    lines = [line.getMessage() for line in caplog.records]
    logged = "\n".join(line for line in lines if "http://testserver" not in line)  # the test's own browser
    assert "/token" in logged
    assert [secret for secret in secrets if secret in logged or secret in kept] == []
    assert [line for line in told(engine) if any(secret in line[2] for secret in secrets)] == []
