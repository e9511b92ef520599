"""Pages for operators and programs: health, readiness, and documentation that needs no other host."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from app.mongo.schema import SCHEMA_VERSION
from tests.people import Bank

ANOTHER_HOST = re.compile(r"""(?:src|href|url|data-[a-z]+)\s*[=:(]\s*["']?\s*(?:[a-z]+:)?//""", re.IGNORECASE)
LINKED = re.compile(r'(?:src|href|data-document)="([^"]+)"')


@pytest.fixture
def outdated_schema(bank: Bank, database: Database[Document]) -> Iterator[None]:
    """A database whose schema is older than the program."""
    database["schema"].update_one({"_id": "version"}, {"$set": {"version": SCHEMA_VERSION - 1}})
    yield
    database["schema"].update_one({"_id": "version"}, {"$set": {"version": SCHEMA_VERSION}})


def test_a_process_that_serves_is_healthy(bank: Bank) -> None:
    answer = bank.anonymous.get("/healthz")

    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_a_process_with_a_database_is_ready(bank: Bank) -> None:
    answer = bank.anonymous.get("/readyz")

    assert (answer.status, answer.body) == (200, {"status": "ready"})


@pytest.mark.usefixtures("outdated_schema")
def test_a_process_whose_schema_is_outdated_is_healthy_but_not_ready(bank: Bank) -> None:
    answer = bank.anonymous.get("/readyz")

    assert (answer.status, answer.code) == (503, "service_unavailable")
    assert "db upgrade" in answer.body["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert bank.anonymous.get("/healthz").status == 200


@pytest.mark.parametrize("path", ["/api/docs", "/problems/validation_failed"])
def test_a_page_and_all_it_links_to_come_from_here(app: Flask, path: str) -> None:
    with app.test_client().get(path) as page:
        assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
        assert not ANOTHER_HOST.search(page.get_data(as_text=True))
        links = LINKED.findall(page.get_data(as_text=True))

    assert links
    for link in links:
        with app.test_client().get(link) as linked:
            assert linked.status_code == 200, link


def test_no_page_needs_inline_scripts_or_styles(bank: Bank) -> None:
    for path in ("/api/docs", "/problems/validation_failed"):
        page = bank.anonymous.get(path).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page), path


def test_the_script_of_the_docs_names_no_other_host(app: Flask) -> None:
    with app.test_client().get("/static/operations/docs.js") as script:
        assert script.mimetype == "text/javascript"
        assert "//" not in script.get_data(as_text=True)


def test_swagger_ui_shows_this_banks_document(bank: Bank) -> None:
    page = bank.anonymous.get("/api/docs").content.decode()

    assert 'data-document="/api/openapi.json"' in page


@pytest.mark.parametrize("name", ["../routes.py", "..%2f..%2fpackage.json", "nothing.js", "%00"])
def test_the_docs_serve_their_own_files_only(bank: Bank, name: str) -> None:
    assert bank.anonymous.get(f"/api/docs/{name}").code == "not_found"
