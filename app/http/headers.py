"""Response headers that restrict what browsers do, and name the origins whose pages may call the API."""

from collections.abc import Sequence

from flask import Flask, Request, Response
from flask_cors import CORS

from app.http.results import JsonResponse, add_headers

HSTS_S = 365 * 24 * 3600
CORS_MAX_AGE_S = 600
_API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Pages load everything from this server. Swagger UI's style sheet has pictures in data: URLs.
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = "Content-Security-Policy"
_PAGE = list(_ALWAYS.items())
_OTHER = [*_ALWAYS.items(), (_POLICY, _API_POLICY)]
_OF_TLS = [("Strict-Transport-Security", f"max-age={HSTS_S}; includeSubDomains")]
_NOT_KEPT = [("Cache-Control", "no-store")]
_REQUEST_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID", "traceparent"]
_EXPOSED_HEADERS = [
    "Content-Disposition",
    "Idempotency-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
    "traceresponse",
]


def register(app: Flask, *, cors_origins: Sequence[str]) -> None:
    """Let pages of these origins call the API. Without any, browsers block the pages of all other origins."""
    if cors_origins:
        CORS(
            app,
            resources={r"/api/.*": {}},
            origins=list(cors_origins),
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
            # A page sends its token in a header. There are no cookies.
            supports_credentials=False,
            max_age=CORS_MAX_AGE_S,
        )


def protect(request: Request, response: Response) -> None:
    """Add the protective headers to a response."""
    if not isinstance(response, JsonResponse) and response.mimetype == "text/html":
        add_headers(response, _PAGE)
        # A page may have a stricter one of its own.
        response.headers.setdefault(_POLICY, _PAGE_POLICY)
    else:
        add_headers(response, _OTHER)
    if request.scheme == "https":
        add_headers(response, _OF_TLS)
    if _may_hold_secrets(request.path):
        response.headers.remove("Cache-Control")
        add_headers(response, _NOT_KEPT)


def _may_hold_secrets(path: str) -> bool:
    # The API's description and Swagger UI's files are the same for everybody. All other answers may contain secrets.
    is_of_all = path.startswith(("/api/docs", "/api/openapi.json"))
    return path.startswith(("/api/", "/session")) and not is_of_all
