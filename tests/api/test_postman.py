"""The Postman collection: in step with the API's description, free of secrets, and green against a server."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.document import DOCUMENT
from clients.journey import JOURNEY
from clients.postman import COLLECTION, ENVIRONMENT, as_text, collection, environment
from config import ROOT
from tests.clients import OverHttp
from tests.description import operations
from tests.documents import block, commands
from tests.node import run_tool
from tests.people import PASSWORD, Bank


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return document


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(COLLECTION.read_text())
    return made


def requests(made: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in made["item"]:
        for item in folder["item"]:
            yield folder["name"], item


def test_the_collection_is_in_step_with_the_description(document: dict[str, Any]) -> None:
    assert COLLECTION.read_text() == as_text(collection(document)), "Run `make postman`."
    assert ENVIRONMENT.read_text() == as_text(environment()), "Run `make postman`."


def test_every_call_is_in_the_folder_of_its_tag_and_on_the_journey(
    document: dict[str, Any], made: dict[str, Any]
) -> None:
    names = {operation["operationId"] for _, operation in operations(document)}
    folders = {folder["name"]: len(folder["item"]) for folder in made["item"]}

    assert {step.operation for step in JOURNEY} == names
    assert folders.pop("Journey") == len(JOURNEY)
    assert folders == {
        tag["name"]: sum(tag["name"] in operation["tags"] for _, operation in operations(document))
        for tag in document["tags"]
    }


def test_every_request_has_tests_and_every_key_is_made_before_its_request(made: dict[str, Any]) -> None:
    repeats = {step.name for step in JOURNEY if not step.new_key}
    assert repeats

    for folder, item in requests(made):
        scripts = {event["listen"]: "\n".join(event["script"]["exec"]) for event in item["event"]}
        assert "pm.test(" in scripts["test"], item["name"]
        if "{{key}}" in str(item["request"].get("body")) and not (folder == "Journey" and item["name"] in repeats):
            assert '"key"' in scripts["prerequest"], item["name"]


def test_every_body_is_json_that_a_reader_could_send(made: dict[str, Any]) -> None:
    for _, item in requests(made):
        if "body" in item["request"]:
            raw = re.sub(r"(?<!\")\{\{(\w+)\}\}(?!\")", "1", item["request"]["body"]["raw"])
            raw = re.sub(r"\{\{\w+\}\}", "x", raw)
            assert json.loads(raw) is not None, item["name"]


def test_secrets_are_in_the_environment_alone_and_marked(made: dict[str, Any]) -> None:
    values = {value["key"]: value for value in json.loads(ENVIRONMENT.read_text())["values"]}
    secrets = {name for name in values if re.search("password|token", name, re.IGNORECASE)}

    assert {name for name, value in values.items() if value["type"] == "secret"} == secrets
    assert values["systemPassword"]["value"] == ""
    text = json.dumps(made)
    assert not [name for name in secrets if values[name]["value"] and values[name]["value"] in text]
    assert "eyJ" not in text
    # Each variable that the collection uses is in the environment.
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= values.keys()


def test_the_journey_is_green_against_a_fresh_bank(live_bank: Bank, tmp_path: Path) -> None:
    assert isinstance(live_bank.client, OverHttp)
    report = tmp_path / "report.json"
    password = shlex.quote(f"systemPassword={PASSWORD}")

    ((newman, *words),) = commands(block("docs/clients.md", "newman run").replace("systemPassword=…", password))

    run = run_tool(
        newman,
        *words,
        *("--env-var", f"baseUrl=http://127.0.0.1:{live_bank.client.port}", "--color", "off"),
        *("--reporters", "cli,json", "--reporter-json-export", report),
        cwd=ROOT,
        env={"HOME": str(tmp_path)},
    )

    assert run.returncode == 0, run.stdout
    done = json.loads(report.read_text())["run"]
    assert done["stats"]["requests"]["total"] == len(JOURNEY)
    assert done["stats"]["assertions"]["total"] >= 2 * len(JOURNEY) + sum(len(step.checks) for step in JOURNEY)
    assert done["failures"] == []
