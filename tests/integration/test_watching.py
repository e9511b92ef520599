"""The means to monitor the bank: alerts, a dashboard, and lines in the log."""

import json
import re
import subprocess
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import structlog
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from app.http import requests
from app.telemetry import logs, metrics
from config import ROOT
from tests.logs import let_tell
from tests.people import PASSWORD, Bank, new_key

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "fincore.json"
OPERATIONS = ROOT / "docs" / "operations.md"
SERIES = re.compile(r"fincore_[a-z_]+")
# Which labels an expression sorts by, and which it chooses by. Prometheus itself adds what it scraped from.
SORTED_BY = re.compile(r"\bby \(([^)]*)\)")
CHOSEN_BY = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
OF_PROMETHEUS = {"instance", "job"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def promtool(*arguments: str, text: str | None = None) -> None:
    program = which("promtool")
    if program is None:
        pytest.skip("promtool is missing; Debian's package is `prometheus`.")
    done = subprocess.run([program, *arguments], input=text, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def offered(bank: Bank) -> set[str]:
    """Return the names of all series that a scrape can have."""
    text = bank.anonymous.get("/metrics").content.decode()
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE))
    histograms = [name for name, kind in families.items() if kind == "histogram"]
    return families.keys() | {f"{name}{end}" for name in histograms for end in ("_bucket", "_count")}


def of_histogram(series: str) -> str:
    """Return the histogram that a series is of, or the series' own name."""
    return re.sub(r"_(bucket|count)$", "", series)


def test_prometheus_takes_the_settings_and_the_alerts() -> None:
    promtool("check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", str(PROMETHEUS / "alerts.yml"))


def test_prometheus_takes_a_scrape(bank: Bank) -> None:
    bank.customer(100)

    promtool("check", "metrics", text=bank.anonymous.get("/metrics").content.decode())


def panels() -> list[tuple[str, str]]:
    """Return the legend and the expression of each line that the dashboard draws."""
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [(target["legendFormat"], target["expr"]) for panel in found for target in panel.get("targets", [])]


def alerts() -> list[str]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def labels_of(bank: Bank) -> dict[str, set[str]]:
    """Return the labels that each measure has, as it is declared or scraped."""
    found = {
        made._name: set(made._labelnames) for made in vars(metrics).values() if isinstance(made, MetricWrapperBase)
    }
    for family in text_string_to_metric_families(bank.anonymous.get("/metrics").content.decode()):
        found.setdefault(family.name, set()).update(*(sample.labels for sample in family.samples))
    return found


def test_prometheus_takes_each_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(panels())
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    promtool("check", "rules", str(tmp_path / "panels.yml"))


def test_every_label_that_is_asked_for_is_one_of_the_measure(bank: Bank) -> None:
    bank.customer(100)
    labels = labels_of(bank)

    for legend, expression in [*panels(), *(("", expression) for expression in alerts())]:
        sorted_by = {label.strip() for found in SORTED_BY.findall(expression) for label in found.split(",")}
        asked = sorted_by | set(CHOSEN_BY.findall(expression))
        series = SERIES.findall(expression)
        known = set().union(*(labels[re.sub("_(bucket|count|total)$", "", each)] for each in series)) | OF_PROMETHEUS
        if any(each.endswith("_bucket") for each in series):
            known.add("le")
        assert asked <= known, expression
        assert set(re.findall(r"{{(\w+)}}", legend)) <= sorted_by, legend


def test_the_dashboard_asks_the_source_that_is_chosen_on_it() -> None:
    found = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]

    assert {panel["datasource"]["uid"] for panel in found} == {"${datasource}"}
    assert len({panel["id"] for panel in found}) == len(found)


@pytest.mark.parametrize(
    ("values", "is_told"),
    [("_x10 1x5", True), ("1x8 2x10", True), ("3x20", False)],
    ids=["the first error of a route", "another error", "old errors"],
)
def test_each_error_is_told(tmp_path: Path, values: str, is_told: bool) -> None:
    told = [{"exp_labels": {"severity": "page", "instance": "bank"}}] if is_told else []
    series = 'fincore_http_requests_total{instance="bank", route="/api/me", method="GET", status="500"}'
    case = {
        "interval": "1m",
        "input_series": [{"series": series, "values": values}],
        "alert_rule_test": [
            {
                "eval_time": "12m",
                "alertname": "FincoreErrors",
                "exp_alerts": told,
            }
        ],
    }
    # What the alert says is left out, because promtool would compare it word for word.
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["annotations"] = {}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "case.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [case]}))

    promtool("test", "rules", str(tmp_path / "case.yml"))


@pytest.mark.parametrize("file", [PROMETHEUS / "alerts.yml", DASHBOARD], ids=["alerts", "dashboard"])
def test_what_is_watched_is_measured(bank: Bank, file: Path) -> None:
    text = file.read_text()
    watched = set(SERIES.findall(text))

    assert watched
    assert watched <= offered(bank)


def test_the_dashboard_shows_all_that_is_measured(bank: Bank) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = " ".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    shown = {of_histogram(series) for series in SERIES.findall(expressions)}
    # Two are for alerts and other programs.
    measured = {of_histogram(series) for series in offered(bank)} - {"fincore_info", "fincore_database_up"}

    assert shown == measured


def test_each_alert_has_a_paragraph() -> None:
    names = re.findall(r"- alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
    _, _, alerts = OPERATIONS.read_text().partition("\n## Alerts\n")
    headings = re.findall(r"^### (\w+)$", alerts, re.MULTILINE)

    assert names
    assert names == headings
    for name, paragraph in zip(headings, re.split(r"^### .*$", alerts, flags=re.MULTILINE)[1:], strict=True):
        assert all(f"**{word}:**" in paragraph for word in ("Look", "Decide", "Do")), name


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect the lines that requests leave in the log."""
    let_tell(monkeypatch, requests)
    with structlog.testing.capture_logs([logs.add_request]) as lines:
        yield lines


def test_the_line_of_a_request_says_who_asked_what_and_how_long_it_took(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = bank.customer(10)
    path = f"/api/accounts/{account}/balance"
    with logged(monkeypatch) as lines:
        person.get(path)

    (line,) = lines
    assert (line["event"], line["method"], line["status"], line["user"]) == ("request", "GET", 200, person.id)
    assert (line["path"], line["route"]) == (path, "/api/accounts/<account:account_id>/balance")
    assert 0 < line["database_ms"] <= line["duration_ms"]
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])


def test_a_trace_goes_into_the_log_and_the_answer(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    with logged(monkeypatch) as lines:
        answer = bank.client.send("GET", "/healthz", {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, None)

    assert re.fullmatch(f"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", answer.headers["traceresponse"])
    assert [line["trace_id"] for line in lines] == [TRACE]


@pytest.mark.parametrize("header", [None, "rubbish"])
def test_without_a_trace_there_is_none(bank: Bank, header: str | None) -> None:
    answer = bank.client.send("GET", "/healthz", {} if header is None else {"traceparent": header}, None)

    assert answer.status == 200
    assert "traceresponse" not in answer.headers


def test_no_line_tells_a_secret(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    key, email, wrong = new_key(), "asha@fincore.example", "a wrong password 7"
    with logged(monkeypatch) as lines:
        bank.anonymous.post("/api/auth/register", {"name": "Asha", "email": email, "password": PASSWORD})
        person = bank.log_in(email)
        person.post("/api/accounts/create", {"idempotencyKey": key})
        bank.anonymous.post("/api/auth/login", {"email": email, "password": wrong})

    text = repr(lines)
    assert len(lines) == 4
    assert person.token is not None
    for secret in (person.token, person.refresh_token, key, email, PASSWORD, wrong):
        assert secret not in text
