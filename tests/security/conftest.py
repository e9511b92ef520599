"""The bank as the internet meets it: limits on, and behind a proxy that says who the client is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database

from app import create_app
from app.mongo import Document
from app.settings.policies import HttpPolicy
from config import Config
from tests.clients import Answer, Client, InProcess
from tests.people import Caller

MakeEdge = Callable[..., "Edge"]


@dataclass(frozen=True)
class FromAddress:
    """A client at this address, as the trusted proxy on the loopback address reports it."""

    client: Client
    address: str

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        return self.client.send(method, path, {**headers, "X-Forwarded-For": self.address}, data)


@dataclass(frozen=True)
class Edge:
    """An application of its own with these edge settings, on the database of the test."""

    app: Flask

    def caller(self, address: str = "198.51.100.7", token: str | None = None) -> Caller:
        return Caller(FromAddress(InProcess(self.app), address), token)

    def peer(self, address: str) -> Caller:
        """Somebody who reaches the server from this address, without a proxy in between that speaks for them."""
        return Caller(InProcess(self.app, address))


@pytest.fixture
def make_edge(config: Config, database: Database[Document]) -> MakeEdge:
    def make(**edge: Any) -> Edge:
        # The driver and the ledger, which belong to the process, are set as for all other tests.
        http = HttpPolicy(**{"trusted_proxies": ("127.0.0.1",), **edge})
        auth = replace(config.auth, delays_guesses=http.ratelimit_enabled)
        return Edge(create_app(replace(config, http=http, auth=auth)))

    return make
