"""The database goes away during a long answer: the client can tell that the answer is incomplete."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymongo import MongoClient

from app.mongo import Document
from local.processes import holds_within
from local.replica_set import DATABASE_NAME
from tests.clients import OverHttp
from tests.drills.processes import processor_s
from tests.faults.traffic import CONNECTION_ERRORS, LiveBank, open_bank
from tests.journals import lengthen
from tests.people import Person
from tests.server import children, is_running

# Far more than what is made before an answer begins and what lies in the buffers of both ends.
ENTRIES = 30_000
BUFFER_BYTES = 64 * 1024
READ_TIMEOUT_S = 60
RECOVERY_TIMEOUT_S = 60.0
# Of processor time: less than a drawing takes by far, and more than an idle press.
AT_WORK_S = 0.1


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBank]:
    with open_bank(tmp_path_factory.mktemp("broken")) as bank:
        yield bank


@pytest.fixture(scope="module")
def asha(bank: LiveBank) -> tuple[Person, str]:
    person, account = bank.customer(1_000)
    with MongoClient[Document](bank.replica_set.admin_uri, tz_aware=True) as admin:
        lengthen(admin[DATABASE_NAME], account, ENTRIES)
    return person, f"/api/accounts/{account}/statement"


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_a_long_answer_without_its_end_is_visibly_broken(
    bank: LiveBank, asha: tuple[Person, str], format_: str
) -> None:
    person, path = asha
    connection = http.client.HTTPConnection("127.0.0.1", bank.port, timeout=READ_TIMEOUT_S)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.sock.settimeout(READ_TIMEOUT_S)
    connection.sock.connect(("127.0.0.1", bank.port))
    connection.request("GET", f"{path}?format={format_}", headers={"Authorization": f"Bearer {person.token}"})
    with connection.getresponse() as response:
        assert response.status == 200
        assert response.read(1_000)

        bank.replica_set.stop()
        try:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
        finally:
            bank.replica_set.start()
    connection.close()

    assert holds_within(RECOVERY_TIMEOUT_S, lambda: bank.status_of("/readyz") == 200)
    assert person.get(f"{path}?format=csv").content.count(b"\r\n") == ENTRIES + 3


def test_a_pdf_whose_database_goes_is_told_to_come_back(bank: LiveBank, asha: tuple[Person, str]) -> None:
    person, path = asha

    bank.replica_set.stop()
    try:
        answer = person.get(f"{path}.pdf", headers={"X-Request-ID": "of-this-request"})
    finally:
        bank.replica_set.start()

    assert (answer.status, answer.code, answer.body["requestId"]) == (503, "service_unavailable", "of-this-request")
    assert holds_within(RECOVERY_TIMEOUT_S, lambda: bank.status_of("/readyz") == 200)


def test_a_press_ends_with_its_worker_however_that_ends(bank: LiveBank, asha: tuple[Person, str]) -> None:
    person, path = asha
    of_asha, workers = person.token, bank.worker_pids()

    def drawers() -> list[int]:
        return [pid for worker in workers for pid in children(worker)]

    # Presses of earlier statements are still there.
    at_work_s = sum(map(processor_s, drawers())) + AT_WORK_S
    with ThreadPoolExecutor(1) as threads:
        # Some seconds of drawing. Its connection ends with its worker.
        lost = threads.submit(Person(OverHttp(bank.port), of_asha).get, f"{path}.pdf")
        assert holds_within(RECOVERY_TIMEOUT_S, lambda: sum(map(processor_s, drawers())) > at_work_s)
        began = drawers()

        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        bank.hang_up()

        assert holds_within(RECOVERY_TIMEOUT_S, lambda: not any(map(is_running, began)))
        assert isinstance(lost.exception(READ_TIMEOUT_S), CONNECTION_ERRORS)
    assert holds_within(RECOVERY_TIMEOUT_S, lambda: bank.status_of("/readyz") == 200)
    other, account = bank.customer(1)
    assert other.get(f"/api/accounts/{account}/statement.pdf").status == 200
