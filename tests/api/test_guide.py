"""The guide to the API: each example is executed, and each call has one."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from clients.document import DOCUMENT
from config import ROOT
from tests.clients import OverHttp
from tests.description import operations
from tests.documents import script, with_this_python
from tests.people import PASSWORD, Bank

GUIDE = ROOT / "docs" / "api.md"
TIMEOUT_S = 120
# curl, as the guide calls it, and besides a line for each request about how it went.
CURL = r"""
curl() {
  local out
  out=$(command curl -sS -w '\n%{http_code} %{method} %{url_effective}' "$@") || exit 1
  printf '%s\n' "${out##*$'\n'}" >> "$REQUESTS"
  printf '%s' "${out%$'\n'*}"
}
"""


def examples() -> str:
    return script("docs/api.md")


@pytest.fixture
def requests(live_bank: Bank, tmp_path: Path) -> list[tuple[int, str, str]]:
    """Execute the guide and return status, method and path of each request."""
    assert isinstance(live_bank.client, OverHttp)
    typed = examples().replace("http://127.0.0.1:5000", f"http://127.0.0.1:{live_bank.client.port}")
    log = tmp_path / "requests"

    done = subprocess.run(
        ["bash", "-c", f"set -eu -o pipefail\n{CURL}\n{typed}"],
        cwd=tmp_path,
        env={**with_this_python(), "SYSTEM_PASSWORD": PASSWORD, "REQUESTS": str(log)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert (tmp_path / "statement.pdf").read_bytes().startswith(b"%PDF")
    logged = [line.split(" ", 2) for line in log.read_text().splitlines()]
    return [(int(status), method, re.sub(r"https?://[^/]+|\?.*", "", url)) for status, method, url in logged]


def test_every_example_of_the_guide_does_what_it_says_and_every_call_has_one(
    requests: list[tuple[int, str, str]],
) -> None:
    announced = [int(status) for status in re.findall(r"# ([45]\d\d)\b", examples())]
    refused = [status for status, _, _ in requests if status >= 400]
    assert refused == announced

    document = json.loads(DOCUMENT.read_text())
    called = {f"{method} {path}" for _, method, path in requests}
    for name, _ in operations(document):
        pattern = re.sub(r"{\w+}", "[0-9a-f]{24}", re.sub(r"[.]", r"\\.", name))
        assert any(re.fullmatch(pattern, call) for call in called), f"{name} has no example."


def test_every_section_that_the_guide_lists_is_there() -> None:
    text = GUIDE.read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
