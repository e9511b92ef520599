"""Makes the Postman collection and its environment from the API's description: `python -m clients.postman`."""

import json
import re
from dataclasses import dataclass
from typing import Any

from clients.document import DOCUMENT
from clients.journey import JOURNEY
from clients.steps import Step
from config import ROOT

Document = dict[str, Any]
FOLDER = ROOT / "postman"
COLLECTION = FOLDER / "fincore.postman_collection.json"
ENVIRONMENT = FOLDER / "fincore.postman_environment.json"
METHODS = ("get", "post", "put", "patch", "delete")
JSON = "application/json"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# The values that replace the description's examples, so that a request can be sent after the journey.
_VARIABLES = {
    "accountId": "{{currentAccount}}",
    "transactionId": "{{transferId}}",
    "holdId": "{{holdId}}",
    "userId": "{{userId}}",
    "fromAccount": "{{currentAccount}}",
    "toAccount": "{{benAccount}}",
    "idempotencyKey": "{{key}}",
    "email": "{{email}}",
    "password": "{{password}}",
    "currentPassword": "{{password}}",
    "newPassword": "{{newPassword}}",
}
# Whose token a call takes, unless it is the customer's own.
_TOKENS = {
    "refresh": "refreshToken",
    "fundAccount": "systemToken",
    "reverseTransaction": "systemToken",
    "captureHold": "benToken",
    "voidHold": "benToken",
}
_SECRETS = (
    "systemPassword",
    "password",
    "newPassword",
    "token",
    "refreshToken",
    "benToken",
    "systemToken",
    "pageToken",
)
_KNOWN = {
    "baseUrl": "http://127.0.0.1:5000",
    "systemEmail": "system@fincore.example",
    "systemPassword": "",
    "password": "monsoon over the hills",
    "newPassword": "lighthouse by the sea",
}
_NEW_KEY = 'pm.environment.set("key", pm.variables.replaceIn("{{$guid}}"));'
_NEW_EMAIL = 'pm.environment.set("email", pm.variables.replaceIn("{{$guid}}@fincore.example"));'


def collection(document: Document) -> Document:
    """Return the collection: a folder with the journey, and one for each tag."""
    calls = {
        operation["operationId"]: (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }
    folders = [
        {
            "name": tag["name"],
            "description": tag["description"],
            "item": [_request(*call) for call in calls.values() if tag["name"] in call[2]["tags"]],
        }
        for tag in document["tags"]
    ]
    journey = {
        "name": "Journey",
        "description": "From registering to logging out, through everything. Run it as a whole, in this order.",
        "item": [_step(step, *calls[step.operation], is_first=step is JOURNEY[0]) for step in JOURNEY],
    }
    return {
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "version": document["info"]["version"],
            "schema": _SCHEMA,
        },
        "auth": _bearer("token"),
        "item": [journey, *folders],
    }


def environment() -> Document:
    """Return the environment: the bank's address, the passwords, and the values that scripts keep."""
    kept = [name for step in JOURNEY for name in step.keeps]
    names = dict.fromkeys([*_KNOWN, "email", "key", *kept, *_SECRETS])
    return {
        "name": "Fincore",
        "values": [
            {
                "key": name,
                "value": _KNOWN.get(name, ""),
                "type": "secret" if name in _SECRETS else "default",
                "enabled": True,
            }
            for name in names
        ],
        "_postman_variable_scope": "environment",
    }


def _request(method: str, path: str, operation: Document) -> Document:
    """Return the request of a tag's folder, with the example of the description."""
    content = operation.get("requestBody", {}).get("content", {}).get(JSON)
    body = None if content is None else _with_variables(content["example"])
    listed = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    query = [
        {"key": one["name"], "value": "", "description": one.get("description", ""), "disabled": True} for one in listed
    ]
    token = _TOKENS.get(operation["operationId"], "systemToken" if "admin" in operation["tags"] else "token")
    answers = [int(status) for status in operation["responses"] if status.startswith("2")]
    keys = [_NEW_KEY] if body is not None and "{{key}}" in str(body) else []
    item = _Item(
        operation["summary"].rstrip("."),
        method,
        path,
        description=operation["description"],
        body=body,
        query=query,
        path_values={},
        token=token if operation["security"] else None,
        headers=_required_headers(operation),
        before=keys,
        tests=_tests(answers, has_json=_is_json(operation, answers)),
    )
    return item.as_document()


def _step(step: Step, method: str, path: str, operation: Document, *, is_first: bool) -> Document:
    statuses = [step.status]
    tests = _tests(statuses, has_json=_is_json(operation, statuses))
    for check in step.checks:
        tests.append(f"pm.test({json.dumps(check)}, () => pm.expect({check}).to.be.true);")
    tests += [f"pm.environment.set({json.dumps(name)}, {value});" for name, value in step.keeps.items()]
    keys = [_NEW_KEY] if step.new_key and "{{key}}" in str(step.body) else []
    item = _Item(
        step.name,
        method,
        path,
        description=operation["summary"],
        body=step.body,
        query=[{"key": name, "value": value} for name, value in step.query.items()],
        path_values=step.path,
        token=step.token,
        headers=_required_headers(operation),
        before=[*([_NEW_EMAIL] if is_first else []), *keys],
        tests=tests,
    )
    return item.as_document()


def _is_json(operation: Document, statuses: list[int]) -> bool:
    answers = [operation["responses"][str(status)].get("content") for status in statuses]
    return all(kinds and all("json" in kind for kind in kinds) for kinds in answers)


def _required_headers(operation: Document) -> list[Document]:
    """Return the headers that the call needs, each with its only possible value."""
    return [
        {"key": one["name"], "value": one["schema"]["enum"][0]}
        for one in operation.get("parameters", ())
        if one["in"] == "header" and one.get("required")
    ]


@dataclass(frozen=True, slots=True)
class _Item:
    """A request of the collection. `before` and `tests` are the lines of scripts."""

    name: str
    method: str
    path: str
    description: str
    body: Any
    query: list[Document]
    path_values: dict[str, str]
    token: str | None
    headers: list[Document]
    before: list[str]
    tests: list[str]

    def as_document(self) -> Document:
        segments = re.sub(r"{(\w+)}", r":\1", self.path).strip("/").split("/")
        values = {segment[1:]: _VARIABLES.get(segment[1:], "") for segment in segments if segment.startswith(":")}
        sent = [f"{one['key']}={one['value']}" for one in self.query if not one.get("disabled")]
        request: Document = {
            "method": self.method.upper(),
            "description": self.description,
            "auth": _bearer(self.token) if self.token else {"type": "noauth"},
            "header": self.headers,
            "url": {
                "raw": "{{baseUrl}}/" + "/".join(segments) + ("?" + "&".join(sent) if sent else ""),
                "host": ["{{baseUrl}}"],
                "path": segments,
                "query": self.query,
                "variable": [{"key": key, "value": value} for key, value in {**values, **self.path_values}.items()],
            },
        }
        if self.body is not None:
            request["header"] = [*self.headers, {"key": "Content-Type", "value": JSON}]
            raw = re.sub(r'"{{#(\w+)}}"', r"{{\1}}", json.dumps(self.body, indent=2, ensure_ascii=False))
            request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
        scripts = {"prerequest": self.before, "test": self.tests}
        events = [
            {"listen": listen, "script": {"type": "text/javascript", "exec": lines}}
            for listen, lines in scripts.items()
            if lines
        ]
        return {"name": self.name, "event": events, "request": request, "response": []}


def _tests(statuses: list[int], *, has_json: bool) -> list[str]:
    wanted = " or ".join(map(str, statuses))
    return [
        f'pm.test("answers {wanted}", () => pm.expect(pm.response.code).to.be.oneOf({statuses}));',
        'pm.test("has a request id", () => pm.expect(pm.response.headers.has("X-Request-ID")).to.be.true);',
        *(["const body = pm.response.json();"] if has_json else []),
    ]


def _bearer(variable: str) -> Document:
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{variable}}}}}", "type": "string"}]}


def _with_variables(example: Any) -> Any:
    """Return an example with its ids, keys and secrets replaced by those of the environment."""
    if isinstance(example, list):
        return [_with_variables(member) for member in example]
    if not isinstance(example, dict):
        return example
    return {
        name: _VARIABLES[name] if name in _VARIABLES and isinstance(value, str) else _with_variables(value)
        for name, value in example.items()
    }


def as_text(made: Document) -> str:
    """Return the JSON as the file has it."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(exist_ok=True)
    COLLECTION.write_text(as_text(collection(json.loads(DOCUMENT.read_text()))))
    ENVIRONMENT.write_text(as_text(environment()))
    print(f"Written: {COLLECTION.relative_to(ROOT)}, {ENVIRONMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
