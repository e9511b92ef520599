"""Request limits: shared by all processes, announced in headers, and never hit by ordinary use."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.auth.unsubscribing import token_for
from app.http.rate_limits import LEASE_SIZE_MAX, LeasedCounters
from app.mongo import Document
from app.outbox.events import EventType
from app.settings.policies import HttpPolicy
from tests.people import PASSWORD, Bank
from tests.security.conftest import MakeEdge
from tests.server import JWT_SECRET, running_server

LOGIN = {"email": "nobody@fincore.example", "password": PASSWORD}


def test_a_counted_request_tells_where_its_client_stands(make_edge: MakeEdge, bank: Bank) -> None:
    person = bank.register()
    caller = make_edge(ratelimit_read="90/day").caller(token=person.token)
    answers = [caller.get("/api/auth/me") for _ in range(3)]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"90"}
    remaining = [int(answer.headers["ratelimit-remaining"]) for answer in answers]
    assert remaining[0] > remaining[1] > remaining[2]
    assert all(1 <= int(answer.headers["ratelimit-reset"]) <= 24 * 3600 for answer in answers)


@pytest.mark.parametrize(
    ("limit", "method", "path"),
    [
        ("ratelimit_read", "GET", "/api/accounts"),
        ("ratelimit_money", "POST", "/api/accounts/create"),
        ("ratelimit_auth", "PUT", "/api/auth/password"),
        ("ratelimit_lookup", "GET", "/api/payees/lookup?number=FC76910284736650"),
        ("ratelimit_lookup", "POST", "/api/payees"),
    ],
)
def test_a_user_who_asks_too_often_is_told_when_to_come_back(
    make_edge: MakeEdge, bank: Bank, limit: str, method: str, path: str
) -> None:
    person, other = bank.register(), bank.register()
    edge = make_edge(**{limit: "3/day"})
    caller = edge.caller(token=person.token)
    answers = [caller.call(method, path, None if method == "GET" else {}) for _ in range(4)]
    assert [answer.code == "rate_limited" for answer in answers] == [False, False, False, True]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 24 * 3600
    assert answers[-1].headers["ratelimit-remaining"] == "0"
    assert edge.caller(token=other.token).get("/api/auth/me").status == 200, "Others at the address are not concerned."


def test_whose_number_it_is_can_be_asked_thirty_times_a_minute_and_saving_does_not_get_around_that(
    make_edge: MakeEdge, bank: Bank
) -> None:
    assert HttpPolicy().ratelimit_lookup == "30/minute"
    person = bank.register()
    caller = make_edge(ratelimit_lookup="4/day").caller(token=person.token)
    number = {"number": "FC76910284736650", "name": "x"}

    asked = [caller.get(f"/api/payees/lookup?number={number['number']}").code for _ in range(2)]
    saved = [caller.post("/api/payees", number).code for _ in range(2)]
    beyond = [caller.get("/api/payees/lookup?number=FC").code, caller.post("/api/payees", number).code]

    assert asked + saved == ["payee_not_found"] * 4
    assert beyond == ["rate_limited"] * 2
    assert caller.get("/api/payees").status == 200, "one's own list is a read like any other"


def test_links_in_letters_cannot_be_guessed_at_for_long(make_edge: MakeEdge) -> None:
    caller = make_edge(ratelimit_auth="4/day").caller()

    answers = [caller.call(method, "/unsubscribe?token=guess") for method in ("GET", "POST") * 3]

    assert [answer.code for answer in answers] == ["not_found"] * 4 + ["rate_limited"] * 2


def test_links_of_many_readers_may_come_from_one_address(make_edge: MakeEdge) -> None:
    caller = make_edge(ratelimit_auth="2/day").caller()
    tokens = [token_for(ObjectId(), [EventType.MONEY_SENT], [JWT_SECRET]) for _ in range(3)]

    for token in tokens:
        assert caller.get(f"/unsubscribe?token={token}").status == 200
        assert caller.post(f"/unsubscribe?token={token}").status == 404, "There is no such user."
    assert caller.get(f"/unsubscribe?token={tokens[0]}").status == 429


def test_who_is_nobody_yet_is_limited_by_the_address(make_edge: MakeEdge) -> None:
    edge = make_edge(ratelimit_auth="3/day")
    codes = [edge.caller("203.0.113.1").post("/api/auth/login", LOGIN).code for _ in range(4)]
    assert codes == ["invalid_credentials"] * 3 + ["rate_limited"]
    assert edge.caller("203.0.113.2").post("/api/auth/login", LOGIN).code == "invalid_credentials"


def test_all_addresses_of_one_ipv6_network_are_one_client(make_edge: MakeEdge) -> None:
    edge = make_edge(ratelimit_auth="3/day")
    codes = [edge.caller(f"2001:db8:1:2::{n}").post("/api/auth/login", LOGIN).code for n in range(1, 5)]
    assert codes[-1] == "rate_limited"
    assert edge.caller("2001:db8:1:3::1").post("/api/auth/login", LOGIN).code == "invalid_credentials"


def test_bad_tokens_are_counted_for_their_address(make_edge: MakeEdge) -> None:
    caller = make_edge(ratelimit_read="3/day").caller(token="a.b.c")
    codes = [caller.get("/api/accounts").code for _ in range(4)]
    assert codes == ["token_invalid"] * 3 + ["rate_limited"]


def test_asking_for_resets_floods_no_mailbox_and_shuts_nobody_out(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    edge, email = make_edge(), bank.register().user["email"]
    answers = [edge.caller(f"203.0.113.{n}").post("/api/auth/password/forgot", {"email": email}) for n in range(1, 25)]
    assert {answer.status for answer in answers} == {202}
    assert len({answer.headers["ratelimit-remaining"] for answer in answers}) == 1, "Each sees what it asked itself."
    assert database.outbox.count_documents({"kind": "password_reset"}) == 1


def test_health_and_pages_are_not_limited(make_edge: MakeEdge) -> None:
    caller = make_edge(ratelimit_read="1/day", ratelimit_auth="1/day").caller()
    for path in ("/healthz", "/readyz", "/api/openapi.json", "/api/docs", "/problems/rate_limited"):
        for _ in range(3):
            answer = caller.get(path)
            assert answer.status == 200
            assert "ratelimit-limit" not in answer.headers


def test_nothing_is_counted_where_limits_are_off(make_edge: MakeEdge, database: Database[Document]) -> None:
    caller = make_edge(ratelimit_enabled=False, ratelimit_auth="1/day").caller()
    answers = [caller.post("/api/auth/login", LOGIN) for _ in range(3)]
    assert {answer.code for answer in answers} == {"invalid_credentials"}
    assert database.rate_limits.count_documents({}) == 0


def test_processes_that_share_a_count_never_give_out_one_number_twice(database: Database[Document]) -> None:
    processes = [LeasedCounters(LEASE_SIZE_MAX) for _ in range(4)]

    def hit(number: int) -> int:
        return processes[number % 4].hit("somebody", 24 * 3600)[0]

    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(hit, range(1_000)))
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < len(numbers) + len(processes) * LEASE_SIZE_MAX


def test_two_workers_together_let_no_more_through_than_the_limit(mongo_uri: str, bank: Bank) -> None:
    person = bank.register()
    settings = {"RATELIMIT_ENABLED": "true", "RATELIMIT_READ": "60/day"}
    with running_server(mongo_uri, **settings) as port:
        # A connection of its own for each request, so that both workers serve.
        def status(_: int) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/api/auth/me", headers={"Authorization": f"Bearer {person.token}"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            assert answer.status == 200 or body["code"] == "rate_limited"
            return answer.status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(status, range(100)))
    assert 50 <= statuses.count(200) <= 60
