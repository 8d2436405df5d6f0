"""The clinic's pages, as tests open them."""

from __future__ import annotations

import io

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from PIL import Image

from dermsentry.clinic.web.app import ROUTERS
from dermsentry.phantoms.drawing import draw_phantom

FIRST_TOKEN = "shown-on-the-terminal"
PASSWORD = "correct horse battery"


def photograph(
    number: int = 0, code: str = "MEL", kind: str = "JPEG", size: tuple[int, int] = (160, 120)
) -> bytes:
    """A drawn photograph as a file."""
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom(code, number, size)).save(buffer, kind)
    return buffer.getvalue()


def client(app: FastAPI, **headers: str) -> TestClient:
    """A browser of its own; a server's fault is an answer to it, not an exception."""
    return TestClient(
        app,
        headers={"accept": "text/html", **headers},
        follow_redirects=False,
        raise_server_exceptions=False,
    )


def all_routes() -> list[tuple[str, str]]:
    """Method and path of each route."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return sorted({(method, route.path) for route in routes for method in route.methods})


def page_posts() -> list[str]:
    """The paths of pages that change something, their numbers filled with 1."""
    found = [path for method, path in all_routes() if method == "POST" and not path.startswith("/api/")]
    return ["/".join("1" if part.startswith("{") else part for part in path.split("/")) for path in found]
