"""Traces for OpenTelemetry, as a collector gets them: which span belongs to which, and no data from clients."""

import subprocess
import sys
import threading
import timeit
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pymongo.database import Database

from app import create_app, mongo
from app.mongo import Document
from app.settings.policies import TracePolicy
from app.telemetry import spans
from config import ROOT, Config
from local.processes import LOOPBACK
from tests.clients import Answer, InProcess
from tests.mail import fill, smtp_server, use
from tests.people import PASSWORD, Bank, new_key

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SETTINGS = {"MONGO_URI": "mongodb://127.0.0.1/fincore?replicaSet=rs0", "JWT_SECRET": "cM4vX8qT1nZ6bK3wR9yL5jH2fD7gS0pA"}
NOTHING_COSTS_US_MAX = 5.0


class Collector:
    """A collector that keeps what it gets by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer((LOOPBACK, 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def policy(self) -> TracePolicy:
        return TracePolicy(f"http://{LOOPBACK}:{self.server.server_port}/v1/traces", "bank-of-tests")

    def spans(self) -> list[Span]:
        """Return all spans so far. Those that still wait are sent first."""
        assert spans._provider is not None
        spans._provider.force_flush()
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture
def traced(config: Config, bank: Bank, collector: Collector) -> Iterator[Flask]:
    """The bank with traces, which go to the collector."""
    yield create_app(replace(config, traces=collector.policy))
    spans.configure(None, version="")
    mongo.connect(config.mongo)


def send(app: Flask, path: str, body: dict[str, Any], **headers: str) -> Answer:
    return InProcess(app).send("POST", path, {"Content-Type": "application/json", **headers}, orjson.dumps(body))


def run(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**SETTINGS, "ENV_FILE": "/dev/null", **settings}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_transfer_is_one_trace_of_request_block_and_commands(traced: Flask, bank: Bank, collector: Collector) -> None:
    asha, account = bank.customer(100)
    other = asha.open_account()
    body = {"fromAccount": account, "toAccount": other, "amount": 7, "idempotencyKey": new_key(), "description": "Rent"}
    headers = {"Authorization": f"Bearer {asha.token}", "traceparent": f"00-{TRACE}-{CALLER}-01"}

    answer = send(traced, "/api/transactions/create", body, **headers)

    assert answer.status == 201
    made = {span.name: span for span in collector.spans() if span.trace_id.hex() == TRACE}
    request, block = made["POST /api/transactions/create"], made["block"]
    assert request.parent_span_id.hex() == CALLER
    assert block.parent_span_id == request.span_id
    assert made["mongodb commitTransaction"].parent_span_id == block.span_id
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/api/transactions/create",
        "http.response.status_code": 201,
        "fincore.request_id": answer.headers["x-request-id"],
    }
    for span in (block, made["mongodb commitTransaction"]):
        assert request.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano


def test_a_trace_says_whose_it_is_and_nothing_that_was_sent(traced: Flask, bank: Bank, collector: Collector) -> None:
    email, wrong = "asha@fincore.example", "a wrong password 7"
    send(traced, "/api/auth/register", {"name": "Asha Rao", "email": email, "password": PASSWORD})
    send(traced, "/api/auth/login", {"email": email, "password": wrong})

    assert {span.name for span in collector.spans()} >= {"POST /api/auth/register", "POST /api/auth/login"}
    sent = b"".join(collector.bodies)
    assert b"bank-of-tests" in sent
    for secret in (email, "Asha Rao", PASSWORD, wrong):
        assert secret.encode() not in sent


def test_a_letter_is_a_span_which_does_not_name_its_reader(
    traced: Flask, database: Database[Document], collector: Collector
) -> None:
    taken, refused = fill(database, 2)
    with smtp_server() as server, traced.app_context():
        server.on_recipient = {refused: f"550 no {refused} here"}.get
        use(traced, server.port).deliver_due()

    letters = [span for span in collector.spans() if span.name == "letter"]
    assert [span.status.message for span in letters] == ["", "MessageFailed"]
    assert taken.encode() not in b"".join(collector.bodies)
    assert refused.encode() not in b"".join(collector.bodies)


def test_a_caller_that_wants_no_trace_gets_none(traced: Flask, bank: Bank, collector: Collector) -> None:
    InProcess(traced).send("GET", "/healthz", {"traceparent": f"00-{TRACE}-{CALLER}-00"}, None)

    assert collector.spans() == []


def test_a_collector_that_is_away_harms_no_request(traced: Flask, bank: Bank, collector: Collector) -> None:
    collector.server.shutdown()
    collector.server.server_close()

    assert InProcess(traced).send("GET", "/healthz", {}, None).status == 200


def test_without_traces_nothing_of_opentelemetry_is_imported_and_a_span_costs_next_to_nothing(bank: Bank) -> None:
    def measured() -> None:
        with spans.span("nothing"):
            pass

    assert not spans.is_on()
    assert min(timeit.repeat(measured, number=1_000, repeat=5)) * 1_000 < NOTHING_COSTS_US_MAX
    program = "import sys, wsgi; assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**SETTINGS, "ENV_FILE": "/dev/null"}, check=False
    )
    assert run.returncode == 0


def test_without_its_packages_the_start_says_so_in_one_line() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import config\n"
        "try: config.load()\n"
        "except config.ConfigError as error: sys.exit(str(error))"
    )
    started = run(program, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")

    assert started.returncode == 1
    assert len(started.stderr.splitlines()) == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in started.stderr
    assert "requirements-otel.txt" in started.stderr
