"""The tests' own client keeps connections only for as long as the server surely does, even on a slow machine."""

import os
import threading
import time

from tests.clients import IDLE_MAX_S, OverHttp
from tests.server import running_server

KEEP_ALIVE_S = 1
THREADS = 20


def test_a_connection_that_the_server_gave_up_is_not_used_again(mongo_uri: str) -> None:
    with running_server(mongo_uri, KEEP_ALIVE_S=str(KEEP_ALIVE_S)) as port:
        client = OverHttp(port)
        assert client.send("GET", "/healthz", {}, None).status == 200

        # The server's leeway is a second more.
        time.sleep(max(IDLE_MAX_S, KEEP_ALIVE_S + 1) + 1)

        assert client.send("GET", "/healthz", {}, None).status == 200
        client.close()


def test_connections_of_threads_that_have_ended_are_closed(server_port: int) -> None:
    client = OverHttp(server_port)

    def ask() -> None:
        client.send("GET", "/healthz", {}, None)

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(THREADS):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    assert len(os.listdir("/proc/self/fd")) < before + THREADS / 2
    client.close()
