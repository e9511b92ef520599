"""Flask, without what the bank does not use: how a request goes in and its response comes out.

wsgi_app (Flask: finds the route) → full_dispatch_request → requests.begin → contract.serve → requests.finish
"""

from functools import lru_cache
from typing import Any

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter, Rule
from werkzeug.sansio.utils import get_host
from werkzeug.wsgi import get_host as get_host_of_server

from app.http import requests
from app.http.incoming import Incoming, current
from app.http.traces import Trace
from app.telemetry import spans

# How many paths' routes, and hosts, a process remembers, of at most so many characters each.
PATHS_KNOWN_MAX = 2_000
PATH_LENGTH_MAX = 120
HOSTS_KNOWN_MAX = 1_000


class _NoSessions(SessionInterface):
    """There are no cookies."""

    _NONE = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._NONE


class _Context(RequestContext):
    """What Flask keeps of a request. It remembers the routes of paths, because clients ask for the same ones again."""

    app: "Application"

    def match_request(self) -> None:
        """Find the request's route. It depends on nothing but the method and the path."""
        request = self.request
        asked = (request.method, request.path)
        known = self.app.known_routes.get(asked)
        if known is not None:
            request.url_rule, found = known
            request.view_args = dict(found)
            return
        super().match_request()
        # What has no route has several ways to be refused, and those are Werkzeug's to tell apart.
        if request.url_rule is not None and request.view_args is not None and len(request.path) <= PATH_LENGTH_MAX:
            if len(self.app.known_routes) >= PATHS_KNOWN_MAX:
                self.app.known_routes.clear()
            self.app.known_routes[asked] = request.url_rule, dict(request.view_args)


class Application(Flask):
    """Flask with one function before the view and one after it, in place of hooks and signals."""

    request_class = Incoming
    session_interface = _NoSessions()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.known_routes: dict[tuple[str, str], tuple[Rule, dict[str, Any]]] = {}

    def ensure_sync(self, func: Any) -> Any:
        """Return the function unchanged. No view is a coroutine, and asking each time costs more than the call."""
        return func

    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        return _Context(self, environ)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request. We have no subdomains and no configured server name."""
        if request is None:
            return None
        environ = request.environ
        scheme, named = environ["wsgi.url_scheme"], environ.get("HTTP_HOST")
        request.host = get_host_of_server(environ) if named is None else _host(scheme, named)
        return MapAdapter(
            self.url_map,
            request.host,
            request.root_path or "/",
            "",
            scheme,
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
        incoming = current()
        try:
            requests.begin(incoming)
            answered = self._call(incoming)
        except Exception as error:  # noqa: BLE001 -- the error handlers turn each into an answer
            answered = self.handle_user_exception(error)
        return self.finalize_request(answered)

    def _call(self, incoming: Incoming) -> Any:
        """Return what the view of the request's route returns."""
        rule, given = incoming.url_rule, incoming.view_args
        if rule is None or given is None or incoming.method == "OPTIONS":
            return self.dispatch_request()
        return self.view_functions[rule.endpoint](**given)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        """Make the response from what a view or an error handler returned."""
        made = rv if isinstance(rv, Response) else self.make_response(rv)
        return self.process_response(requests.finish(current(), made))

    def process_response(self, response: Response) -> Response:
        """Call the hooks of the application. CORS is one, where origins are configured. No blueprint has any."""
        for hook in reversed(self.after_request_funcs.get(None, ())):
            response = hook(response)
        return response

    def do_teardown_request(self, *_: Any, **__: Any) -> None:
        """Nothing was registered to be torn down."""

    def do_teardown_appcontext(self, *_: Any, **__: Any) -> None:
        """Nothing was registered to be torn down."""


@lru_cache(HOSTS_KNOWN_MAX)
def _host(scheme: str, named: str) -> str:
    """Return the host that a client named, without the scheme's own port, or "" if it is malformed."""
    return get_host(scheme, named)
