"""Health, readiness, metrics, the API's description, the public keys for receipts, and pages about problems."""

import gzip
import hashlib
import hmac

import flask_swagger_ui
import orjson
from flask import Flask, Response, current_app, render_template, request, send_from_directory, url_for
from prometheus_client import CONTENT_TYPE_LATEST

from app import mongo
from app.errors import PROBLEMS, NotFound
from app.http.api import api
from app.http.blueprint import PageBlueprint
from app.http.proxies import is_local
from app.mongo import clocks
from app.mongo.readiness import check_schema
from app.operations import measures
from app.transactions import receipts

bp = PageBlueprint(
    "operations", __name__, template_folder="templates", static_folder="static", static_url_path="/static/operations"
)

_SWAGGER_UI_FILES = f"{next(iter(flask_swagger_ui.__path__))}/dist"


@bp.get("/healthz")
def health() -> dict[str, str]:
    """Answer as long as this process serves requests."""
    return {"status": "ok"}


@bp.get("/readyz")
def readiness() -> dict[str, str]:
    """Answer 200 if the database's primary can be reached, has the schema and agrees on the time; otherwise 503."""
    clocks.check_host()
    check_schema(mongo.database())
    return {"status": "ready"}


@bp.get("/metrics")
def metrics() -> Response:
    """Return all measures to Prometheus: to a caller on this machine, or to one with METRICS_TOKEN."""
    if not (is_local(request.environ) or _has_metrics_token()):
        # As if it did not exist, because a stranger has no use for knowing better.
        raise NotFound
    return Response(measures.exposition(current_app.config["API_VERSION"]), content_type=CONTENT_TYPE_LATEST)


def _has_metrics_token() -> bool:
    token = current_app.config["METRICS_TOKEN"]
    scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
    return token is not None and scheme.lower() == "bearer" and hmac.compare_digest(offered.encode(), token.encode())


@bp.get("/.well-known/jwks.json")
def public_keys() -> dict[str, list[dict[str, str]]]:
    """Return the public key for checking receipts, if this bank signs them."""
    key = current_app.config["RECEIPT_KEY"]
    return {"keys": [receipts.public_key(key)] if key else []}


@bp.get("/api/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document, generated from the schemas that validate requests."""
    document, compressed, tag = _described(current_app)
    is_gzip = request.accept_encodings["gzip"] > 0
    response = Response(compressed if is_gzip else document, mimetype="application/json")
    if is_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.cache_control.no_cache = True  # clients may cache it, and must ask each time whether it has changed
    # Weak, because the tag is the same for the compressed document.
    response.set_etag(tag, weak=True)
    response.make_conditional(request)
    return response


def _described(app: Flask) -> tuple[bytes, bytes, str]:
    """Return the document, the compressed document, and its ETag. They are made once."""
    if "openapi" not in app.extensions:
        document = orjson.dumps(api.spec.to_dict()) + b"\n"
        tag = hashlib.sha256(document).hexdigest()[:32]
        app.extensions["openapi"] = document, gzip.compress(document, mtime=0), tag
    described: tuple[bytes, bytes, str] = app.extensions["openapi"]
    return described


@bp.get("/api/docs")
def docs() -> str:
    """Show the API in Swagger UI."""
    return render_template("docs.html", document=url_for("operations.openapi"))


@bp.get("/api/docs/<path:name>")
def docs_file(name: str) -> Response:
    """Serve Swagger UI's own files."""
    return send_from_directory(_SWAGGER_UI_FILES, name)


@bp.get("/problems/<code>")
def problem(code: str) -> str:
    """Explain a problem code on a page."""
    if code not in PROBLEMS:
        raise NotFound("There is no problem with this code.")
    return render_template("problem.html", problem=PROBLEMS[code])
