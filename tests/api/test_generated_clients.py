"""Clients that are generated from the API's description: their types are sound, and they work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.walks import WALKS, missing
from config import ROOT
from tests.clients import OverHttp
from tests.documents import block, commands
from tests.node import MODULES, run_node, run_tool
from tests.people import PASSWORD, Bank

TIMEOUT_S = 240
TYPESCRIPT = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "module": "nodenext",
    "allowImportingTsExtensions": True,
    "skipLibCheck": False,
    "types": ["node"],
}


# What the generator writes of its own, whatever the description says, is not of sound types.
MYPY = "[mypy]\nstrict = True\n[mypy-fincore_client.client]\nignore_errors = True\n"


def run(*command: str | Path, cwd: Path) -> str:
    # The generator formats what it made with the ruff that it finds.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def address(bank: Bank) -> str:
    assert isinstance(bank.client, OverHttp)
    return f"http://127.0.0.1:{bank.client.port}"


def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the commands of the guide find what they name."""
    directory = tmp_path_factory.mktemp("client")
    for name in ("openapi.json", "docs"):
        (directory / name).symlink_to(ROOT / name)
    return directory


@pytest.fixture(scope="module")
def python_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated package and the walk."""
    directory = new_folder(tmp_path_factory)
    ((program, *words),) = commands(block("docs/clients.md", "openapi-python-client"))

    output = run(sys.executable, "-m", program.replace("-", "_"), *words, cwd=directory)

    assert "warning" not in output.lower(), output
    shutil.copy(WALKS / "walk.py", directory)
    (directory / "mypy.ini").write_text(MYPY)
    return directory


def test_the_python_client_is_of_sound_types(python_client: Path) -> None:
    run(sys.executable, "-m", "mypy", "walk.py", cwd=python_client)


def test_the_python_client_walks_through_the_bank(live_bank: Bank, python_client: Path) -> None:
    walked = run(sys.executable, "walk.py", address(live_bank), PASSWORD, cwd=python_client)

    assert missing(walked) is None, walked


@pytest.fixture(scope="module")
def typescript_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated types and the walk."""
    directory = new_folder(tmp_path_factory)
    (directory / "node_modules").symlink_to(MODULES)
    (directory / "package.json").write_text('{"type": "module"}')

    ((_, program, *words),) = commands(block("docs/clients.md", "npx openapi-typescript"))
    generated = run_tool(program, *words, cwd=directory)

    assert generated.returncode == 0, generated.stdout
    shutil.copy(WALKS / "walk.ts", directory)
    return directory


def test_the_typescript_client_is_of_sound_types(typescript_client: Path) -> None:
    options = [word for name, value in TYPESCRIPT.items() for word in (f"--{name}", _option(value))]

    checked = run_tool("tsc", *options, "walk.ts", cwd=typescript_client)

    assert checked.returncode == 0, checked.stdout


def _option(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def test_the_typescript_client_walks_through_the_bank(live_bank: Bank, typescript_client: Path) -> None:
    walked = run_node("walk.ts", address(live_bank), PASSWORD, cwd=typescript_client)

    assert walked.returncode == 0, walked.stdout
    assert missing(walked.stdout) is None, walked.stdout
