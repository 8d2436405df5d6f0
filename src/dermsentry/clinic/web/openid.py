"""Signing in through an OpenID provider: the authorization code flow (OpenID Connect Core 1.0) with PKCE.

The browser is sent to the provider with a state, a nonce and the hash of a code verifier, and comes back with
a code. The server alone changes that for an ID token, whose signature, issuer, audience, time and nonce must
be right.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import httpx
from authlib.common.security import generate_token
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from dermsentry.clinic import lengths
from dermsentry.clinic.settings import OpenId
from dermsentry.errors import DermsentryError

CALLBACK = "/sign-in/openid/answer"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Of ID tokens: with a key that the provider alone has."""
KNOWN_S = 3600.0
"""How long the provider's addresses and keys are kept."""
AWAY_S = 30.0
"""How long a provider that could not be reached is not asked again."""
TIMEOUT_S = 5.0
LEEWAY_S = 60
"""How far the provider's clock may be off."""
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderAway(DermsentryError):
    """The provider cannot be reached, or answers nonsense."""


class NotBelieved(DermsentryError):
    """What came back from the provider says nobody is who they say; in words, without what came."""


@dataclass(frozen=True)
class Identity:
    """A person as the provider knows them: `issuer` and `subject` say who, names what they are called."""

    issuer: str
    subject: str
    name: str
    full_name: str
    groups: frozenset[str]


class Provider:
    """The OpenID provider of the settings, and what is known of it for now."""

    def __init__(self, openid: OpenId, secret: str, link: str) -> None:
        self.openid, self.secret = openid, secret
        self.callback = link.rstrip("/") + CALLBACK
        self.lock = Lock()
        self.found: tuple[float, dict[str, Any]] | None = None
        self.keys: KeySet | None = None
        self.away_since: float | None = None

    def begin(self) -> tuple[str, dict[str, str]]:
        """Where to send a browser, and what it must bring again: state, nonce and code verifier.

        Raises
        ------
        ProviderAway
            The provider cannot be reached.
        """
        kept = {name: generate_token(48) for name in ("state", "nonce", "verifier")}
        address = prepare_grant_uri(
            self._metadata()["authorization_endpoint"],
            self.openid.client_id,
            "code",
            redirect_uri=self.callback,
            scope=" ".join(self.openid.scopes),
            state=kept["state"],
            nonce=kept["nonce"],
            code_challenge=create_s256_code_challenge(kept["verifier"]),
            code_challenge_method="S256",
        )
        return str(address), kept

    def identity(self, code: str, kept: Mapping[str, str]) -> Identity:
        """Who the provider says came, for the code that they brought.

        Raises
        ------
        ProviderAway
            The provider cannot be reached.
        NotBelieved
            It refuses the code, or its ID token is not right.
        """
        metadata = self._metadata()
        answer = self._exchange(metadata, code, kept["verifier"])
        claims = self._claims(metadata, answer, kept["nonce"])
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= lengths.OPENID_SUBJECT:
            raise NotBelieved("the ID token names nobody")
        about = claims
        groups = _groups(claims, self.openid.groups)
        if groups is None and "userinfo_endpoint" in metadata:
            about = {**claims, **self._userinfo(metadata, answer, subject)}
            groups = _groups(about, self.openid.groups)
        name = _first(about, "preferred_username", "email", "sub")
        full_name = _first(about, "name", "preferred_username", "email", "sub")
        return Identity(self.openid.issuer, subject, name, full_name, groups or frozenset())

    def sign_out_address(self, back: str) -> str:
        """Where a browser signs out of the provider too; `back` where it has no such place.

        Raises
        ------
        ProviderAway
            The provider cannot be reached.
        """
        place = self._metadata().get("end_session_endpoint")
        if not isinstance(place, str):
            return back
        told = urlencode({"client_id": self.openid.client_id, "post_logout_redirect_uri": back})
        return f"{place}{'&' if '?' in place else '?'}{told}"

    def _metadata(self) -> dict[str, Any]:
        with self.lock:
            moment = time.monotonic()
            if self.found is not None and moment - self.found[0] < KNOWN_S:
                return self.found[1]
            if self.away_since is not None and moment - self.away_since < AWAY_S:
                raise ProviderAway("The OpenID provider could not be reached a moment ago.")
            try:
                found = self._json(self.openid.issuer.rstrip("/") + "/.well-known/openid-configuration")
                if found.get("issuer") != self.openid.issuer:
                    raise ProviderAway(
                        f"The OpenID provider names itself {found.get('issuer')!r}; expected the issuer of "
                        f"the settings, {self.openid.issuer!r}."
                    )
                for name in NEEDED:
                    self._safe(found.get(name), name)
            except ProviderAway:
                self.away_since = moment
                raise
            self.found, self.keys, self.away_since = (moment, found), None, None
            return found

    def _safe(self, address: object, name: str) -> None:
        """Raise ProviderAway where an address is missing, or in the clear though the issuer's is not."""
        start = "https://" if self.openid.issuer.startswith("https://") else "http"
        if not isinstance(address, str) or not address.startswith(start):
            raise ProviderAway(f"The OpenID provider's {name} is {address!r}; expected an address, {start}.")

    def _key_set(self, metadata: Mapping[str, Any], *, anew: bool = False) -> KeySet:
        with self.lock:
            if self.keys is None or anew:
                try:
                    self.keys = KeySet.import_key_set(self._json(metadata["jwks_uri"]))  # type: ignore[arg-type]
                except (JoseError, KeyError, TypeError, ValueError) as error:
                    raise ProviderAway("The OpenID provider's keys cannot be read.") from error
            return self.keys

    def _exchange(self, metadata: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = "client_secret_basic" in methods
        method = ("client_secret_basic" if basic else "client_secret_post") if self.secret else "none"
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=self.callback, code_verifier=verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        auth = ClientAuth(self.openid.client_id, self.secret, method)
        address, headers, body = auth.prepare("POST", metadata["token_endpoint"], headers, body)
        answer = self._ask("POST", address, headers, body)
        if 400 <= answer.status_code < 500:
            raise NotBelieved("the provider refused the code")
        return _object(answer)

    def _claims(self, metadata: Mapping[str, Any], answer: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """What a right ID token says. Raises NotBelieved for another one."""
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise NotBelieved("the provider sent no ID token")
        told = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = [own for own in ALGORITHMS if own in told]
        expected: dict[str, Any] = {
            "iss": {"essential": True, "value": self.openid.issuer},
            "aud": {"essential": True, "value": self.openid.client_id},
        }
        params = {
            "nonce": nonce,
            "client_id": self.openid.client_id,
            "access_token": answer.get("access_token"),
        }
        try:
            try:
                read = jwt.decode(token, self._key_set(metadata), algorithms)
            except InvalidKeyIdError:  # the provider has a new key
                read = jwt.decode(token, self._key_set(metadata, anew=True), algorithms)
            claims = CodeIDToken(read.claims, read.header, expected, params)
            claims.validate(leeway=LEEWAY_S)
        except JoseError as error:
            told = " ".join(filter(None, (error.error, getattr(error, "claim", ""))))
            raise NotBelieved(f"the ID token is not right: {told}") from error
        except (ValueError, TypeError) as error:
            raise NotBelieved("the ID token cannot be read") from error
        return dict(claims)

    def _userinfo(
        self, metadata: Mapping[str, Any], answer: Mapping[str, Any], subject: str
    ) -> dict[str, Any]:
        self._safe(metadata["userinfo_endpoint"], "userinfo_endpoint")
        headers = {"Authorization": f"Bearer {answer.get('access_token', '')}"}
        told = self._json(metadata["userinfo_endpoint"], headers)
        if told.get("sub") != subject:  # OpenID Connect Core 1.0, 5.3.2
            raise NotBelieved("the provider tells of somebody else")
        return told

    def _json(self, address: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return _object(self._ask("GET", address, headers or {}))

    def _ask(self, method: str, address: str, headers: Mapping[str, str], body: str = "") -> httpx.Response:
        own = {**headers, "Accept": "application/json"}
        try:
            return httpx.request(method, address, headers=own, content=body or None, timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderAway(
                f"The OpenID provider {self.openid.issuer} cannot be reached ({type(error).__name__})."
            ) from error


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises ProviderAway where it is none."""
    try:
        found = answer.json() if answer.status_code == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderAway(
            f"The OpenID provider answered {answer.status_code} without a JSON object at {answer.url.path}."
        )
    return found


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str] | None:
    """The groups of a person by the claim of this name, or the path of this one; None where there is none."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset({found})
    return frozenset(own for own in found if isinstance(own, str)) if isinstance(found, list) else None


def _first(claims: Mapping[str, Any], *names: str) -> str:
    return next(text for name in names if isinstance(text := claims.get(name), str) and text.strip())
