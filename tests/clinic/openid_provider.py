"""An OpenID provider of the tests' own: a real server with a real RSA key, and its faults."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "dermsentry", "the client's secret"
HMAC_HEADER, UNSIGNED_HEADER = b'{"alg":"HS256","kid":"one"}', b'{"alg":"none"}'


@dataclass
class Grant:
    """What a code stands for until it is exchanged, once."""

    nonce: str
    challenge: str
    redirect: str


@dataclass
class TestProvider:
    """A provider that signs everybody in as `person`.

    `spoil` changes the claims of an ID token before it is signed, `forge` what is sent instead of it.
    """

    __test__ = False

    port: int = 0
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "a1", "groups": ["derm"]})
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    published: list[RSAKey] = field(default_factory=list)
    spoil: Callable[[dict[str, Any]], None] = lambda _: None
    forge: Callable[[str], str] = lambda token: token
    userinfo: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    broken: bool = False

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        } | self.metadata

    def authorize(self, address: str) -> tuple[str, str]:
        """What its page does once a person signed in there: the code, and the state that came."""
        given = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert given["response_type"] == "code"
        assert given["client_id"] == CLIENT
        assert given["code_challenge_method"] == "S256"
        assert "openid" in given["scope"].split()
        code = secrets.token_urlsafe(16)
        self.grants[code] = Grant(given["nonce"], given["code_challenge"], given["redirect_uri"])
        return code, given["state"]

    def exchange(self, body: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization != f"Basic {basic}":
            return 401, {"error": "invalid_client"}
        grant = self.grants.pop(body.get("code", ""), None)
        digest = hashlib.sha256(body.get("code_verifier", "").encode()).digest()
        challenge = _encoded(digest)
        if grant is None or grant.challenge != challenge or grant.redirect != body.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        moment = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": moment, "exp": moment + 300, "nonce": grant.nonce}
        claims |= self.person
        self.spoil(claims)
        token = self.forge(jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key))
        access = secrets.token_urlsafe(16)
        self.tokens += [token, access]
        return 200, {"access_token": access, "token_type": "Bearer", "id_token": token}

    def answer(self, method: str, path: str, body: str, authorization: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.broken:
            return 503, {}
        if path == "/.well-known/openid-configuration":
            return 200, self.discovery()
        if path == "/keys":
            return 200, KeySet([*self.published, self.key]).as_dict(private=False)
        if path == "/userinfo" and authorization.removeprefix("Bearer ") in self.tokens:
            return 200, self.userinfo
        if method == "POST" and path == "/token":
            return self.exchange({name: own[0] for name, own in parse_qs(body).items()}, authorization)
        return 404, {}


def unsigned(token: str) -> str:
    """The same claims under the algorithm `none`."""
    return f"{_encoded(UNSIGNED_HEADER)}.{token.split('.')[1]}."


def changed(token: str) -> str:
    """Another person's name under the signature of this one."""
    header, claims, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    told["sub"] = "the administrator"
    return f"{header}.{_encoded(json.dumps(told).encode())}.{signature}"


def signed_by_another(token: str) -> str:
    """The same claims, signed by a key that calls itself the provider's."""
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSAKey.generate_key(2048))


def signed_with_the_public_key(provider: TestProvider) -> Callable[[str], str]:
    """The same claims, signed with HMAC, whose key is the provider's public one: everybody has that."""
    public = provider.key.as_pem(private=False)

    def sign(token: str) -> str:
        start = f"{_encoded(HMAC_HEADER)}.{token.split('.')[1]}"
        return f"{start}.{_encoded(hmac.new(public, start.encode(), hashlib.sha256).digest())}"

    return sign


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def running_provider() -> Iterator[TestProvider]:
    """A provider that listens on this machine."""
    provider = TestProvider()

    class Handler(BaseHTTPRequestHandler):
        def _answers(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            authorization = self.headers.get("authorization", "")
            status, told = provider.answer(self.command, urlsplit(self.path).path, body, authorization)
            text = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answers

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
