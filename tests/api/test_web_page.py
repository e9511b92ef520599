"""The web page's document and files, as a browser gets them. tests/web drives the page in a browser."""

import gzip
import re

import pytest
from flask import Flask

from app.web.assets import STATIC, assets
from app.web.routes import PLACES
from tests.clients import Answer, InProcess

LINES_MAX = 200
WEIGHT_MAX = 100_000
MARKUP_OR_CODE = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"


def fetch(app: Flask, path: str, **headers: str) -> Answer:
    return InProcess(app).send("GET", path, headers, None)


def addresses_in(page: Answer) -> list[str]:
    return re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.content.decode())


@pytest.fixture
def page(app: Flask) -> Answer:
    return fetch(app, "/")


def test_the_page_allows_nothing_that_is_not_its_own(page: Answer) -> None:
    policy = page.headers["content-security-policy"]
    assert page.status == 200
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert page.headers["cache-control"] == "no-cache"
    text = page.content.decode()
    assert "style=" not in text
    assert not re.search(r"<script(?![^>]*src=)", text)
    assert not re.search(r"(?:src|href)=\"(?!/)", text), "Everything comes from this server."


@pytest.mark.parametrize("path", ["/", "/sign-in", "/accounts/new", "/accounts/FC64001277310949", "/pay?from=a&to=b"])
def test_every_address_of_the_page_is_the_same_document(app: Flask, page: Answer, path: str) -> None:
    assert fetch(app, path).content == page.content


@pytest.mark.parametrize("path", ["/nowhere", "/account", "/assets/x/main.js", "/assets", "/sign-inn"])
def test_other_addresses_are_not_found(app: Flask, path: str) -> None:
    assert fetch(app, path).code == "not_found"


def test_the_server_and_the_page_know_the_same_addresses() -> None:
    paths = re.findall(r'path: "/([^"/]*)', (STATIC / "places.js").read_text())
    assert set(paths) - {""} == set(PLACES)


def test_files_are_compressed_and_kept_for_good(app: Flask, page: Answer) -> None:
    addresses = addresses_in(page)
    assert len(addresses) == 4
    for address in addresses:
        plain, compressed = fetch(app, address), fetch(app, address, **{"Accept-Encoding": "gzip"})
        assert plain.status == 200
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert plain.headers["vary"] == "Accept-Encoding"
        assert compressed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(compressed.content) == plain.content
        assert plain.headers["x-content-type-options"] == "nosniff"


def test_an_earlier_version_of_a_file_is_gone(app: Flask, page: Answer) -> None:
    address = addresses_in(page)[0]
    assert fetch(app, re.sub(r"/assets/\w+/", "/assets/0123456789abcdef/", address)).code == "not_found"


def test_all_of_the_page_weighs_little(app: Flask, page: Answer) -> None:
    version = addresses_in(page)[0].split("/")[2]
    files = assets("INR").files
    answers = {name: fetch(app, f"/assets/{version}/{name}", **{"Accept-Encoding": "gzip"}) for name in files}
    assert all(answer.status == 200 for answer in answers.values())
    # A browser asks for maps only for who looks at how the page is made.
    asked = [len(answer.content) for name, answer in answers.items() if not name.endswith(".map")]
    assert len(asked) > 30
    assert sum(asked) < WEIGHT_MAX


def test_every_module_is_short_and_makes_no_markup_or_code_of_text() -> None:
    for path in STATIC.rglob("*.js"):
        text = path.read_text()
        assert len(text.splitlines()) < LINES_MAX, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path
