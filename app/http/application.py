"""Flask, without what the bank does not use: how a request goes in and its response comes out.

wsgi_app (Flask: finds the route) → full_dispatch_request → requests.begin → contract.serve → requests.finish
"""

from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host

from app.http import requests
from app.http.incoming import Incoming, current
from app.http.traces import Trace
from app.telemetry import spans


class _NoSessions(SessionInterface):
    """There are no cookies."""

    _NONE = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._NONE


class Application(Flask):
    """Flask with one function before the view and one after it, in place of hooks and signals."""

    request_class = Incoming
    session_interface = _NoSessions()

    def ensure_sync(self, func: Any) -> Any:
        """Return the function unchanged. No view is a coroutine, and asking each time costs more than the call."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request. We have no subdomains and no configured server name."""
        if request is None:
            return None
        request.host = get_host(request.environ)  # raises SecurityError if it is malformed
        environ = request.environ
        return MapAdapter(
            self.url_map,
            request.host,
            request.root_path or "/",
            "",
            environ["wsgi.url_scheme"],
            request.path,
            request.method,
            environ.get("QUERY_STRING", ""),
        )

    def full_dispatch_request(self) -> Response:
        """Answer the current request."""
        return self._answered_in_span(current()) if spans.is_on() else self._answered()

    def _answered_in_span(self, incoming: Incoming) -> Response:
        headers = incoming.environ
        method = incoming.method if incoming.method in requests.METHODS else "_OTHER"
        with spans.request(method, headers.get("HTTP_TRACEPARENT"), headers.get("HTTP_TRACESTATE")) as span:
            incoming.trace = Trace(*spans.ids_of(span))
            response = self._answered()
            route = None if incoming.url_rule is None else incoming.url_rule.rule
            spans.answered(
                span, method=method, route=route, status=response.status_code, request_id=incoming.request_id
            )
            return response

    def _answered(self) -> Response:
        try:
            requests.begin(current())
            answered = self.dispatch_request()
        except Exception as error:  # noqa: BLE001 -- the error handlers turn each into an answer
            answered = self.handle_user_exception(error)
        return self.finalize_request(answered)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        """Make the response from what a view or an error handler returned."""
        # CORS adds a hook, but only if origins are configured.
        return self.process_response(requests.finish(current(), self.make_response(rv)))
