"""The OpenAPI document, collected from the routes."""

import re
from typing import Any

import flask
import flask_smorest

from app.http.described import Document, field_as_described, finish
from app.http.problems import ProblemSchema

_DESCRIPTION = """\
A small bank: people register, open accounts and move money. Every movement is a balanced pair of entries in an
append-only ledger.

- **Money** is a whole number of minor units (500 is ₹5.00) with its currency beside it.
- **Idempotency.** A call that moves money takes a key. A repeat with the same key never moves it twice. Without an
  answer, or after a 503, send the same request again.
- **Refusals** are problem documents (RFC 9457). `type` is the address of a page about it, such as
  `/problems/insufficient_funds`. An unknown address answers 404 `not_found`, and a wrong method 405
  `method_not_allowed`, with the header `Allow`.
- **Answers may grow**: ignore members, names in enumerations and codes that you do not know.
"""
_INFO: Document = {
    "summary": "A small bank with a ledger that can prove itself right.",
    "description": _DESCRIPTION,
    "contact": {"name": "Whoever runs this bank"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
_SERVERS = [
    {"url": "/", "description": "The bank that serves this document."},
    {"url": "http://127.0.0.1:5000", "description": "What `make run` starts."},
]


class Api(flask_smorest.Api):
    """Collects the OpenAPI document; leaves errors to `problems`."""

    DEFAULT_ERROR_RESPONSE_NAME = ""
    ERROR_SCHEMA = ProblemSchema

    def document(self, app: flask.Flask) -> Document:
        """Return the OpenAPI document of the application."""
        names = {
            (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower()): rule.endpoint.rpartition(".")[2]
            for rule in app.url_map.iter_rules()
            for method in rule.methods or ()
        }
        schemas = {name: key[0] for key, name in self.ma_plugin.converter.refs.items()}
        return finish(self.spec.to_dict(), names, schemas)

    def _register_error_handlers(self) -> None:
        pass

    def _init_spec(self, **kwargs: Any) -> None:
        super()._init_spec(info=_INFO, servers=_SERVERS, **kwargs)
        self.ma_plugin.converter.add_attribute_function(field_as_described)

    def _register_pagination_header(self) -> None:
        pass


api = Api()
