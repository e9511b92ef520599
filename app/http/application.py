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
        """Return the function. No view is a coroutine, and to ask each time costs more than the call."""
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
        try:
            requests.begin(current())
            answered = self.dispatch_request()
        except Exception as error:  # noqa: BLE001 -- the error handlers make an answer of each
            answered = self.handle_user_exception(error)
        return self.finalize_request(answered)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        """Make the response of what a view or an error handler returned."""
        # CORS, which is only there for configured origins, comes as a hook.
        return self.process_response(requests.finish(current(), self.make_response(rv)))
