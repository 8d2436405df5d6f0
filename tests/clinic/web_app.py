"""The clinic's pages, as tests open them."""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response

from dermsentry.clinic.web.app import ROUTERS

FIRST_TOKEN = "shown-on-the-terminal"
PASSWORD = "correct horse battery"


def client(app: FastAPI, **headers: str) -> TestClient:
    """A browser of its own; a server's fault is an answer to it, not an exception."""
    return TestClient(
        app,
        headers={"accept": "text/html", **headers},
        follow_redirects=False,
        raise_server_exceptions=False,
    )


def shown(answer: Response) -> BeautifulSoup:
    """A page, to be asked for what it shows."""
    return BeautifulSoup(answer.text, "html.parser")


def texts(page: Tag, selector: str) -> list[str]:
    """The text of each element that the selector finds, its spaces made plain."""
    return [" ".join(found.get_text().split()) for found in page.select(selector)]


def all_routes() -> list[tuple[str, str]]:
    """Method and path of each route."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return sorted({(method, route.path) for route in routes for method in route.methods})


def page_posts() -> list[str]:
    """The paths of pages that change something, their numbers filled with 1."""
    found = [path for method, path in all_routes() if method == "POST" and not path.startswith("/api/")]
    return ["/".join("1" if part.startswith("{") else part for part in path.split("/")) for path in found]
