"""A TCP proxy in front of a mongod, which can cut, hold up and half-close what goes through it."""

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from local.processes import LOOPBACK, free_port

CHUNK_BYTES = 65_536
COMMIT = b"commitTransaction"

# What happens to data from a client: "pass" it on, "cut" the connection, pass it on and drop the answer ("half"), or
# "hold" it for HOLD_S.
Rule = Callable[[bytes], str]
HOLD_S = 3.0


def let_pass(_data: bytes) -> str:
    return "pass"


def readable(sockets: Sequence[socket.socket], *, timeout_s: float) -> list[socket.socket]:
    """Return which sockets have something to read. A test process may have more of them than select(2) can name."""
    with selectors.PollSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        ready = {key.fd for key, _ in selector.select(timeout_s)}
        return [each for each in sockets if each.fileno() in ready]


class Proxy:
    """Listens on a port of its own and hands on to a mongod, which is told to be known by that port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target: Callable[[], int] = lambda: 0
        # Processes whose connections are neither made nor kept.
        self.refused: frozenset[int] = frozenset()
        self.rule: Rule = let_pass
        self._pairs: dict[socket.socket, tuple[socket.socket, int | None]] = {}
        self._lock = threading.Lock()
        self._socket = socket.create_server((LOOPBACK, self.port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self, pids: Iterable[int], all_pids: Iterable[int]) -> None:
        """Cut off these processes among `all_pids`, now and until told otherwise. All others go on."""
        self.refused = frozenset(pids)
        with self._lock:
            pairs = list(self._pairs.items())
        for client, (server, _) in pairs:
            with suppress(OSError):
                if owner_of(client.getpeername()[1], all_pids) in self.refused:
                    _close(client, server)

    def cut_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs.items())
        for client, (server, _) in pairs:
            _close(client, server)

    def close(self) -> None:
        self._socket.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, address[1]), daemon=True).start()

    def _serve(self, client: socket.socket, peer_port: int) -> None:
        if self.refused and owner_of(peer_port, self.refused) is not None:
            client.close()
            return
        try:
            server = socket.create_connection((LOOPBACK, self.target()), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs[client] = (server, None)
        try:
            self._pump(client, server)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._pairs.pop(client, None)
            _close(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        is_deaf = False
        while True:
            ready = readable([client, server], timeout_s=60.0)
            for each in ready:
                data = each.recv(CHUNK_BYTES)
                if not data:
                    return
                if each is server:
                    if not is_deaf:
                        client.sendall(data)
                    continue
                match self.rule(data):
                    case "cut":
                        # The server carries out the request; the client gets no answer.
                        server.sendall(data)
                        return
                    case "half":
                        server.sendall(data)
                        client.shutdown(socket.SHUT_RD)
                        is_deaf = True
                    case "hold":
                        time.sleep(HOLD_S)
                        server.sendall(data)
                    case _:
                        server.sendall(data)


def owner_of(port: int, pids: Iterable[int]) -> int | None:
    """Return which of the processes has a connection from this local port."""
    inode = _inode_of(port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for pid in pids:
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{name}") == wanted:
                        return pid
    return None


def _inode_of(port: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            return fields[9]
    return None


def _close(*ends: socket.socket) -> None:
    for each in ends:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            each.close()
