"""Writes the API's description to openapi.json: `python -m clients.document`, or `make openapi`.

It needs no database and no settings, because the description depends on neither.
"""

import json
from typing import Any

from app import create_app, mongo
from app.http.api import api
from app.settings.policies import AuthPolicy, MongoPolicy
from config import ROOT, Config

DOCUMENT = ROOT / "openapi.json"
# The description of the last release, whose clients have to go on working.
RELEASED = ROOT / "openapi.released.json"
# Nothing listens at this address, and nothing is signed with this secret.
_NOWHERE = MongoPolicy("mongodb://127.0.0.1:1/fincore?replicaSet=none")
_UNUSED = AuthPolicy("this-secret-signs-nothing-at-all")


def document() -> dict[str, Any]:
    """Return the description, as the API serves it."""
    app = create_app(Config(mongo=_NOWHERE, auth=_UNUSED, log_level="ERROR"))
    try:
        return api.document(app)
    finally:
        mongo.close()


def as_text(described: dict[str, Any]) -> str:
    """Return the document as the file has it."""
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(as_text(document()))
    print(f"Written: {DOCUMENT.name}")
