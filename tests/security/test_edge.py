"""Headers for browsers, which proxies are trusted about the client's address, and requests that are refused early."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymongo.database import Database

from app.http.parsing import JSON_DEPTH_MAX
from app.mongo import Document
from app.networks import client_network
from tests.people import Bank
from tests.security.conftest import MakeEdge

ORIGIN = "https://bank.example"
LOGIN = {"email": "nobody@fincore.example", "password": "not the password"}


def directives(policy: str) -> dict[str, str]:
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in policy.split(";"))}


@pytest.mark.parametrize("path", ["/api/auth/me", "/api/nowhere", "/healthz", "/api/docs", "/problems/forbidden"])
def test_every_response_says_what_a_browser_must_not_do(bank: Bank, path: str) -> None:
    headers = bank.anonymous.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    policy = directives(headers["content-security-policy"])
    assert policy["frame-ancestors"] == "'none'"
    assert policy["default-src"] == ("'self'" if headers["content-type"].startswith("text/html") else "'none'")
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/accounts"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/transactions/create"),
        ("DELETE", "/api/accounts"),
        ("GET", "/api/nowhere"),
    ],
)
def test_nothing_with_money_or_tokens_is_kept_by_a_cache(bank: Bank, method: str, path: str) -> None:
    assert bank.register().call(method, path, {} if method == "POST" else None).headers["cache-control"] == "no-store"


def test_tls_is_demanded_under_tls_only(make_edge: MakeEdge) -> None:
    caller = make_edge().caller()
    assert "strict-transport-security" not in caller.get("/healthz").headers
    headers = {"X-Forwarded-Proto": "https"}
    assert "max-age=31536000" in caller.get("/healthz", headers=headers).headers["strict-transport-security"]


def test_nobody_but_a_trusted_proxy_says_that_there_is_tls(make_edge: MakeEdge) -> None:
    caller = make_edge(trusted_proxies=("10.0.0.0/8",)).caller()
    answer = caller.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("1.2.3.4, 203.0.113.5, 10.1.1.1", "203.0.113.5"),
        ("203.0.113.5, 10.1.1.1, 10.2.2.2", "203.0.113.5"),
        ("10.1.1.1", "10.1.1.1"),
        ("not an address", "127.0.0.1"),
        ("1.2.3.4, not an address, 10.1.1.1", "10.1.1.1"),
        ('"1.2.3.4, 203.0.113.5', "203.0.113.5"),
        ("", "127.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(
    make_edge: MakeEdge, forwarded: str, client: str
) -> None:
    edge = make_edge(trusted_proxies=("127.0.0.1", "10.0.0.0/8"), ratelimit_auth="1/day")
    assert edge.caller(client).post("/api/auth/login", LOGIN).status == 401
    assert edge.caller(forwarded).post("/api/auth/login", LOGIN).code == "rate_limited"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("::FFFF:cb00:7105", "203.0.113.5"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unix socket", "unix socket"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(address: str, network: str) -> None:
    assert client_network(address) == network


def test_ipv4_clients_of_a_server_that_listens_on_ipv6_are_as_many_as_they_are(make_edge: MakeEdge) -> None:
    edge = make_edge(trusted_proxies=(), ratelimit_auth="1/day")
    assert edge.peer("::ffff:203.0.113.5").post("/api/auth/login", LOGIN).status == 401
    assert edge.peer("::ffff:203.0.113.6").post("/api/auth/login", LOGIN).status == 401
    assert edge.peer("203.0.113.5").post("/api/auth/login", LOGIN).code == "rate_limited"


@pytest.mark.parametrize("network", ["10.0.0.0/8", "::ffff:10.0.0.0/104"])
@pytest.mark.parametrize("proxy", ["10.0.0.7", "::ffff:10.0.0.7"])
def test_a_proxy_is_trusted_however_its_address_is_written(make_edge: MakeEdge, network: str, proxy: str) -> None:
    edge = make_edge(trusted_proxies=(network,), ratelimit_auth="1/day")
    forwarded = {"X-Forwarded-For": "::ffff:203.0.113.5, ::ffff:10.1.1.1"}
    assert edge.peer(proxy).post("/api/auth/login", LOGIN, headers=forwarded).status == 401
    assert edge.peer("203.0.113.5").post("/api/auth/login", LOGIN).code == "rate_limited"


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)])
def test_the_audit_log_has_an_address_as_the_limits_have_it(
    make_edge: MakeEdge, database: Database[Document], proxies: tuple[str, ...]
) -> None:
    edge = make_edge(trusted_proxies=proxies)
    for address in ("203.0.113.5", "203.0.113.5", "203.0.113.5", "203.0.113.5", "::FFFF:cb00:7105"):
        edge.peer(address).post("/api/auth/login", LOGIN)
    (record,) = database.audit_log.find({})
    assert record["address"] == "203.0.113.5"


def test_pages_of_configured_origins_may_call_the_api(make_edge: MakeEdge) -> None:
    caller = make_edge(cors_origins=(ORIGIN,)).caller()
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
    }
    answer = caller.call("OPTIONS", "/api/transactions/create", headers=asked)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "idempotency-key" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    answer = caller.post("/api/auth/login", LOGIN, headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://bank.example.evil.example"])
def test_pages_of_other_origins_may_not(make_edge: MakeEdge, origin: str) -> None:
    answer = make_edge(cors_origins=(ORIGIN,)).caller().get("/api/auth/me", headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


def test_without_configured_origins_there_is_no_cors_at_all(bank: Bank) -> None:
    answer = bank.anonymous.get("/api/auth/me", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("depth", "status"), [(JSON_DEPTH_MAX, 422), (JSON_DEPTH_MAX + 1, 400), (100_000, 400)])
def test_json_may_not_be_nested_without_end(bank: Bank, depth: int, status: int) -> None:
    body = '{"email":' * 1 + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    assert bank.anonymous.post("/api/auth/login", data=body.encode()).status == status


def test_a_request_id_that_could_forge_a_line_or_a_header_is_replaced(bank: Bank) -> None:
    for offered in ('x"} {"event":"forged', "a b", "ü", "x" * 65):
        answer = bank.anonymous.get("/healthz", headers={"X-Request-ID": offered})
        assert answer.headers["x-request-id"] != offered
        assert answer.headers["x-request-id"].isalnum()


def test_refusals_do_not_mix_up_who_asked_for_what(bank: Bank) -> None:
    """Figures of limits, request ids and tokens belong to one request, however many there are at once."""
    people = [bank.register(f"Person {number}") for number in range(6)]

    def names(number: int) -> tuple[str, str]:
        person = people[number % len(people)]
        return json.loads(person.get("/api/auth/me").content)["user"]["id"], person.id

    with ThreadPoolExecutor(6) as pool:
        assert all(seen == own for seen, own in pool.map(names, range(120)))
