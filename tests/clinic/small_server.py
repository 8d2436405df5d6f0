"""The command line with a small web application in the place of the pages, for tests that end it hard.

`python small_server.py serve …`. `POST /api/cases` takes a photograph as its body; `GET /` says how many
wait.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dermsentry.clinic import queue
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.database import reading
from dermsentry.clinic.intake import About, Received, receive
from dermsentry.errors import DermsentryError


def create_app(clinic: Clinic) -> Starlette:
    def keep(data: bytes) -> Received:
        return receive(
            clinic.engine, clinic.trail, clinic.pictures, data, About(), source="api", actor="someone"
        )

    async def post(request: Request) -> JSONResponse:
        data = await request.body()
        try:
            received = await run_in_threadpool(keep, data)
        except DermsentryError as error:
            return JSONResponse({"error": str(error)}, 503)
        return JSONResponse({"case": received.case_id, "new": received.new})

    async def get(_: Request) -> JSONResponse:
        def waiting() -> int:
            with reading(clinic.engine) as session:
                return queue.length(session)

        return JSONResponse({"waiting": await run_in_threadpool(waiting), "first": clinic.first_token})

    return Starlette(routes=[Route("/api/cases", post, methods=["POST"]), Route("/", get, methods=["GET"])])


def main() -> None:
    from dermsentry import cli

    pages: Any = types.ModuleType("dermsentry.clinic.web.app")
    pages.create_app = create_app
    sys.modules["dermsentry.clinic.web"] = types.ModuleType("dermsentry.clinic.web")
    sys.modules["dermsentry.clinic.web.app"] = pages
    cli.main()


if __name__ == "__main__":
    main()
