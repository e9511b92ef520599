"""The ways in which tests call the API: in process, or over HTTP. Both answer alike."""

import http.client
import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Flask

REQUEST_TIMEOUT_S = 60
# Well below the server's limit for idle connections, because a busy machine may pause between check and request.
IDLE_MAX_S = 2.0


@dataclass(frozen=True)
class Answer:
    """A response: `body` is the parsed JSON, or None if there is none."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content) if "json" in self.headers.get("content-type", "") else None

    @property
    def code(self) -> str | None:
        """The problem's code, or None if this is not a problem document."""
        return self.body["code"] if self.headers["content-type"] == "application/problem+json" else None


class Client(Protocol):
    """Sends one request. `json` is sent as a JSON body, `data` as it is with `content_type`."""

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer: ...


class InProcess:
    """Calls the application without a server."""

    def __init__(self, app: Flask, peer: str = "127.0.0.1") -> None:
        self._client = app.test_client()
        self._peer = {"REMOTE_ADDR": peer}

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        with self._client.open(
            path, method=method, headers=headers, data=data, environ_overrides=self._peer
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, headers, response.get_data())


class OverHttp:
    """Calls a server on this machine, with one kept-alive connection for each thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._local = threading.local()
        self._connections: dict[threading.Thread, http.client.HTTPConnection] = {}

    def close(self) -> None:
        """Close the connections of all threads, which must be done with them."""
        for connection in self._connections.values():
            connection.close()

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        """Remember this thread's connection, and close those of threads that have ended, because nobody else will."""
        self._local.connection = self._connections[threading.current_thread()] = connection
        for thread in list(self._connections):
            if not thread.is_alive() and (left := self._connections.pop(thread, None)) is not None:
                left.close()

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        connection = getattr(self._local, "connection", None)
        if connection is None or time.monotonic() - self._local.used_at > IDLE_MAX_S:
            # The server closes idle connections, perhaps just when we send the next request.
            if connection is not None:
                connection.close()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_S)
            self._keep(connection)
        try:
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            self._local.used_at = time.monotonic()
            return answer
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
