"""Only whole requests: one that its client or a timeout cuts off is never carried out, nor anything after it."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from pymongo.database import Database

from app.mongo import Document
from local.processes import holds_within
from tests.clients import OverHttp
from tests.faults.wire import RawAnswer, chunk, head, post, post_chunks, wire
from tests.people import PASSWORD, Bank, new_key
from tests.server import running_server

REQUEST_TIMEOUT_S = 1
# Before a request's time is over, when it is just over, and when its client was told so.
PAUSES_S = (0.0, 0.5, 0.9, 1.0, 1.1, 1.6, None)
REGISTER = "/api/auth/register"
LARGE = 100_000
RATE_MIN_BYTES_S = 20_000


@pytest.fixture(scope="module")
def port(mongo_uri: str) -> Iterator[int]:
    settings = {"WEB_CONCURRENCY": "1", "REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S)}
    with running_server(mongo_uri, **settings) as port:
        yield port


@pytest.fixture
def bank(port: int, database: Database[Document]) -> Iterator[Bank]:
    client = OverHttp(port)
    yield Bank(client)
    client.close()


def registration(size: int = 0) -> bytes:
    """Return a body that would register somebody, padded with blanks to a size."""
    person = {"name": "Asha", "email": f"{new_key()}@fincore.example", "password": PASSWORD}
    return json.dumps(person).encode().ljust(size)


def smuggled() -> bytes:
    """Return a request that is only a part of another one's body."""
    return post(REGISTER, registration())


def cut_requests() -> dict[str, tuple[bytes, bytes]]:
    """Return the begin and the rest of requests whose begin could be taken for all of them, by how they are cut."""
    rest = smuggled()
    body, large = registration(), registration(LARGE)
    whole = len(body) + len(rest)
    return {
        "within a length": (post(REGISTER, body, length=whole), rest),
        "a byte before the end": (post(REGISTER, body, length=len(body) + 1), b"P"),
        "within a large length": (post(REGISTER, large, length=LARGE + len(rest)), rest),
        "within a chunk": (post_chunks(REGISTER, b"%x\r\n" % whole + body), rest),
        "within a large chunk": (post_chunks(REGISTER, b"%x\r\n" % (LARGE + len(rest)) + large), rest),
        "behind a chunk's data": (post_chunks(REGISTER, b"%x\r\n" % len(body) + body), rest),
        "between chunks": (post_chunks(REGISTER, chunk(body)), rest),
        "between chunks of a large body": (post_chunks(REGISTER, chunk(large)), rest),
        "within a size": (post_chunks(REGISTER, chunk(body) + b"0"), rest),
        "within trailers": (post_chunks(REGISTER, chunk(body) + b"0\r\n"), rest),
        "within a trailer": (post_chunks(REGISTER, chunk(body) + b"0\r\nX-Sum: 1"), rest),
        "within its head": (post(REGISTER, body)[:100], rest),
        "told to go on": (post(REGISTER, body, length=whole, more="Expect: 100-continue\r\n"), rest),
    }


def users(database: Database[Document]) -> int:
    return database.users.count_documents({"role": "USER"})


def answers_to(port: int, sent: bytes, pause_s: float | None, rest: bytes) -> list[RawAnswer]:
    """Send the begin and, after a pause or once it was refused, the rest; return all answers but interim ones."""
    with wire(port) as client:
        client.send(sent)
        answers: list[RawAnswer | None] = []
        if pause_s is not None:
            time.sleep(pause_s)
        else:
            answers.append(client.answer())
            while answers[-1] is not None and answers[-1].status == 100:
                answers.append(client.answer())
        with suppress(OSError):  # told so before
            client.send(rest)
            client.end()
        answers += client.answers()
        return [answer for answer in answers if answer is not None and answer.status != 100]


def test_a_request_cut_by_time_is_never_carried_out_and_nothing_behind_it_is_read(
    port: int, bank: Bank, database: Database[Document]
) -> None:
    attacks: list[tuple[str, float | None, bytes, bytes]] = []
    for pause in PAUSES_S:
        # Together they are few enough to be served.
        together = [(cut, pause, *parts) for cut, parts in cut_requests().items()]
        attacks += together
        with ThreadPoolExecutor(len(together)) as threads:
            attempts = [threads.submit(answers_to, port, sent, pause, rest) for _, pause, sent, rest in together]
        for (cut, _, _, _), attempt in zip(together, attempts, strict=True):
            (answer,) = attempt.result()
            assert answer.status in ((400, 408, 422) if pause is not None else (408,)), (cut, pause, answer)
            assert answer.ends_the_connection or answer.status != 408, (cut, pause)
    registered = [user["email"].encode() for user in database.users.find({"role": "USER"})]
    carried_out = [
        (cut, pause) for cut, pause, sent, rest in attacks if any(email in sent + rest for email in registered)
    ]
    assert (carried_out, registered) == ([], [])


@pytest.mark.parametrize("cut", cut_requests())
def test_a_request_cut_by_its_client_is_never_carried_out(
    port: int, bank: Bank, database: Database[Document], cut: str
) -> None:
    sent, _ = cut_requests()[cut]
    with wire(port) as client:
        client.send(sent)
        client.end()
        answers = [answer for answer in client.answers() if answer.status != 100]

    assert [answer.status for answer in answers] == [408]
    problem = answers[0].body
    assert (problem["type"], problem["code"], problem["status"]) == ("about:blank", "request_timeout", 408)
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert answers[0].headers["x-request-id"] == problem["requestId"] != ""
    assert users(database) == 0


def test_a_request_whose_client_is_gone_is_never_carried_out(
    port: int, bank: Bank, database: Database[Document]
) -> None:
    for sent, _ in cut_requests().values():
        with wire(port) as client:
            client.send(sent)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    time.sleep(0.5)
    assert bank.anonymous.get("/healthz").status == 200
    assert users(database) == 0


@pytest.mark.parametrize("size", [0, LARGE])
def test_requests_that_come_together_are_answered_in_their_order(
    port: int, bank: Bank, database: Database[Document], size: int
) -> None:
    first, second = registration(size), registration(size)
    with wire(port) as client:
        client.send(
            post(REGISTER, first)
            + post_chunks(REGISTER, chunk(second[:7]) + chunk(second[7:]) + b"0\r\nX-Sum: 1\r\n\r\n")
            + head("GET", "/healthz", "Connection: close\r\n")
        )
        answers = client.answers()

    assert [answer.status for answer in answers] == [201, 201, 200]
    emails = [answer.body["user"]["email"] for answer in answers[:2]]
    assert emails == [json.loads(first)["email"], json.loads(second)["email"]]


def test_a_request_in_the_smallest_pieces_is_one_request(port: int, bank: Bank, database: Database[Document]) -> None:
    body = registration()
    with wire(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post_chunks(REGISTER, chunk(body[:1]) + chunk(body[1:]) + b"0\r\n\r\n"):
            client.send(bytes([byte]))
        answer = client.answer()

    assert answer is not None
    assert answer.status == 201


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("size", [20_000, 200_000])
def test_a_body_that_keeps_coming_is_read_however_long_it_takes(
    port: int, bank: Bank, is_chunked: bool, size: int
) -> None:
    """Half of it comes at once. The rest at three times the least rate takes longer than the time-out."""
    person = bank.register()
    body = b"{}".ljust(size)
    sent = chunk(body) + b"0\r\n\r\n" if is_chunked else body
    asked = head("POST", "/api/statements/verify",
                 "Transfer-Encoding: chunked\r\n" if is_chunked else f"Content-Length: {size}\r\n",
                 token=person.token)  # fmt: skip
    step, half = 6_000, len(sent) // 2
    with wire(port) as client:
        # So that a machine that stalls for some seconds is still in time.
        client.send(asked + sent[:half])
        for start in range(half, len(sent), step):
            client.send(sent[start : start + step])
            time.sleep(step / (3 * RATE_MIN_BYTES_S))
        answer = client.answer()
        assert answer is not None
        assert (answer.status, answer.body["code"]) == (422, "validation_failed")

        # Read to its end, so that the connection goes on.
        client.send(head("GET", "/healthz"))
        following = client.answer()
    assert following is not None
    assert following.status == 200


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_a_body_that_comes_too_slowly_is_refused(port: int, bank: Bank, size: int) -> None:
    token = bank.register().token
    with wire(port) as client:
        client.socket.settimeout(0.1)
        client.send(head("POST", "/api/statements/verify", f"Content-Length: {size}\r\n", token=token))
        client.send(b"{".ljust(size // 2))
        answer: RawAnswer | None = None

        def is_refused() -> bool:
            nonlocal answer
            client.send(b" " * 20)
            try:
                answer = client.answer()
            except TimeoutError:
                return False
            return True

        assert holds_within(60.0, is_refused)
    assert answer is not None
    assert answer.status == 408


EXPECTING = "Expect: 100-continue\r\n"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head("POST", "/api/statements/verify", EXPECTING + "Content-Length: 99\r\n", token="wrong"), 401),
        (head("POST", "/api/statements/verify", EXPECTING + "Content-Length: 99\r\n"), 401),
        (head("POST", REGISTER, EXPECTING + "Content-Length: 9000000\r\n"), 413),
        (head("POST", "/api/nowhere", EXPECTING + "Content-Length: 99\r\n"), 404),
        (head("DELETE", REGISTER, EXPECTING + "Content-Length: 99\r\n"), 405),
        (head("POST", "/api/auth/%72egister", EXPECTING + "Content-Encoding: gzip\r\nContent-Length: 99\r\n"), 415),
        (head("POST", REGISTER, EXPECTING.replace("100-continue", "a cake") + "Content-Length: 99\r\n"), 417),
    ],
    ids=["a wrong token", "no token", "too large", "no path", "no method", "a coding", "another expectation"],
)
def test_who_asks_before_sending_a_body_is_refused_at_once(port: int, bank: Bank, asked: bytes, status: int) -> None:
    with wire(port) as client:
        client.send(asked)
        answer = client.answer()

        assert answer is not None
        assert (answer.status, answer.ends_the_connection) == (status, True)
        assert client.answer() is None


def test_who_asks_before_sending_a_body_is_told_to_go_on(port: int, bank: Bank, database: Database[Document]) -> None:
    body = registration()
    with wire(port) as client:
        client.send(head("POST", REGISTER, EXPECTING + f"Content-Length: {len(body)}\r\n"))
        told = client.answer()
        assert told is not None
        assert told.status == 100
        client.send(body)
        answer = client.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (201, "keep-alive")


def test_many_who_ask_and_send_nothing_keep_nobody_who_does_from_it(
    port: int, bank: Bank, database: Database[Document]
) -> None:
    asked = head("POST", REGISTER, EXPECTING + "Content-Length: 900\r\n")
    waited_s = []
    # Some rounds, because a busy machine may take long for one. Who waits for the silent waits in each for their time.
    for _ in range(5):
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(wire(port)).send(asked)
            begun_at = time.monotonic()
            test_who_asks_before_sending_a_body_is_told_to_go_on(port, bank, database)
            waited_s.append(time.monotonic() - begun_at)
        if waited_s[-1] < REQUEST_TIMEOUT_S:
            break
    assert min(waited_s) < REQUEST_TIMEOUT_S
