"""What fits the API's description is answered as it says, what does not is refused (Schemathesis)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

OPERATIONS = 41
EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_api_keeps_to_its_description(
    app: FastAPI,
    program: Callable[..., TestClient],
    add_case: Callable[..., int],
    draw: Callable[[str], None],
    mode: GenerationMode,
) -> None:
    draw("c" * 64)
    add_case("alert", 0.9, sha256="c" * 64)
    add_case("cannot-say", 0.3)
    add_case("", None)
    token = {"Authorization": str(program("administrator").headers["authorization"])}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    for operation in operations:

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode, headers=token))
        def holds(case: schemathesis.Case) -> None:
            # A file that is no photograph, or a page's end that was made up, fits its description too; and
            # what does not fit a form's description, such as an empty list, often is nothing once it is sent.
            formless = [negative_data_rejection] if case.operation.label == "POST /api/cases" else []
            case.call_and_validate(excluded_checks=[positive_data_acceptance, *formless])

        if mode == GenerationMode.POSITIVE or operation.path not in WITHOUT_ARGUMENTS:
            holds()


WITHOUT_ARGUMENTS = (
    "/health",
    "/api/audit/verification",
    "/api/conflicts",
    "/api/exports/outdated",
    "/api/matches",
)
