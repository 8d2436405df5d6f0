"""Whatever fits the API's description is answered as it says, and whatever does not is refused (Schemathesis)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CLINIC: dict[str, object] = {}


@pytest.fixture
def described(
    app: FastAPI,
    program: Callable[..., TestClient],
    add_case: Callable[..., int],
    draw: Callable[[str], None],
) -> Iterator[schemathesis.BaseSchema]:
    """The description of an app that holds a case of each lane, and an administrator's token."""
    draw("c" * 64)
    add_case("alert", 0.9, sha256="c" * 64)
    add_case("cannot-say", 0.3)
    add_case("", None)
    CLINIC["token"] = program("administrator").headers["authorization"]
    yield schemathesis.openapi.from_asgi("/api/openapi.json", app)
    CLINIC.clear()


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
def test_the_api_keeps_to_its_description(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"Authorization": str(CLINIC["token"])})
