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
from app.http.blueprint import Blueprint, PageBlueprint
from app.http.proxies import is_local
from app.ledger.proof import signatures
from app.mongo import clocks
from app.mongo.readiness import check_schema
from app.operations import measures
from app.operations.schemas import HealthSchema, JsonWebKeySetSchema, ReadinessSchema

bp = PageBlueprint(
    "operations", __name__, template_folder="templates", static_folder="static", static_url_path="/static/operations"
)

service = Blueprint("service", __name__, description="Whether the bank runs, and its public keys")

_SWAGGER_UI_FILES = f"{next(iter(flask_swagger_ui.__path__))}/dist"


@service.get("/healthz")
@service.response(200, HealthSchema())
@service.refusals()
def get_health() -> dict[str, str]:
    """Answer as long as this process serves requests.

    It depends on nothing else, so a load balancer may restart a process that does not answer.
    """
    return {"status": "ok"}


@service.get("/readyz")
@service.response(200, ReadinessSchema())
@service.refusals()
def get_readiness() -> dict[str, str]:
    """Tell whether this process can do its work.

    It is ready if the database's primary can be reached, has the schema and agrees on the time. Otherwise the answer is
    503, so that a load balancer sends it no requests.
    """
    clocks.check_host()
    check_schema(mongo.database())
    return {"status": "ready"}


@service.get("/metrics")
@service.response(
    200, {"type": "string"}, content_type="text/plain", description="The measures, as Prometheus reads them."
)
@service.refusals(NotFound)
def get_metrics() -> Response:
    """Return all measures.

    They are for Prometheus, on this machine or with the token `METRICS_TOKEN` of the settings. For everybody else there
    is nothing at this address.
    """
    if not (is_local(request.environ) or _has_metrics_token()):
        # As if it did not exist, because strangers need not know that it does.
        raise NotFound
    return Response(measures.exposition(current_app.config["API_VERSION"]), content_type=CONTENT_TYPE_LATEST)


def _has_metrics_token() -> bool:
    token = current_app.config["METRICS_TOKEN"]
    scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
    return token is not None and scheme.lower() == "bearer" and hmac.compare_digest(offered.encode(), token.encode())


@service.get("/.well-known/jwks.json")
@service.response(200, JsonWebKeySetSchema())
@service.refusals()
def get_receipt_keys() -> dict[str, list[dict[str, str]]]:
    """Return the public keys for checking receipts, including earlier ones.

    The key that signs now comes first. With a copy of them, anybody can check receipts without the bank.
    """
    return {"keys": signatures.public_keys(current_app.config["RECEIPT_KEY"])}


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
        document = orjson.dumps(api.document(app)) + b"\n"
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
