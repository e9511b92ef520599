"""A mail server that takes everything at once and keeps nothing, in a process of its own.

    python -m bench.mail_sink

It prints its port, and for each line on its input how many mails it has taken.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from config import ROOT
from local.processes import LOOPBACK


class Sink(asyncio.Protocol):
    """One SMTP conversation. Commands may come in a pipeline."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._came = bytearray()
        self._is_text = False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._came += data
        answers: list[bytes] = []
        while True:
            end = b"\r\n.\r\n" if self._is_text else b"\r\n"
            line, found, rest = self._came.partition(end)
            if not found:
                break
            self._came = rest
            answers.append(self._answer(line))
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, line: bytearray) -> bytes:
        if self._is_text:
            self._is_text = False
            Sink.taken += 1
            return b"250 taken\r\n"
        command = bytes(line[:4]).upper()
        if command == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
        if command == b"DATA":
            self._is_text = True
            return b"354 go on\r\n"
        return b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n"


class RunningSink:
    """The sink's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self._said())

    @property
    def pid(self) -> int:
        return self._process.pid

    def taken(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._said())

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def running_sink() -> Iterator[RunningSink]:
    """Run the sink in a process of its own."""
    command = [sys.executable, "-m", "bench.mail_sink"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RunningSink(process)
        finally:
            process.kill()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(Sink.taken, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
