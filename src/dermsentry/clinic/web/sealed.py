"""Values that a browser keeps for the server and cannot change: signed, for one purpose, for a time.

They are JSON Web Tokens (RFC 7519) signed with a key derived from the audit trail's; a browser can read them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.tables import now

_ALGORITHMS = ["HS256"]


def seal(trail: Trail, purpose: str, values: Mapping[str, Any], lifetime: timedelta) -> str:
    """The values as text, which `unseal` takes for the same purpose until `lifetime` has passed."""
    ends = int((now() + lifetime).timestamp())
    return jwt.encode({"alg": "HS256"}, {**values, "exp": ends}, _key(trail, purpose), _ALGORITHMS)


def unseal(trail: Trail, purpose: str, text: str) -> dict[str, Any] | None:
    """What was sealed for this purpose; None where that was changed, is over, or was never."""
    try:
        claims = jwt.decode(text, _key(trail, purpose), _ALGORITHMS).claims
        jwt.JWTClaimsRegistry(now=int(now().timestamp()), exp={"essential": True}).validate(claims)
    except (JoseError, ValueError):
        return None
    return dict(claims)


def _key(trail: Trail, purpose: str) -> OctKey:
    return OctKey.import_key(hmac.new(trail.key, f"sealed: {purpose}".encode(), hashlib.sha256).digest())
