"""Generates clients in Java, Go and Rust from openapi.json, compiles them, and lets them walk: `make clients`.

Each walks through a bank that is started for it. A language whose tools are not on this machine is left out, with a
message. It exits with 1 if anything fails. `python -m clients.generate NAME…` makes only some languages.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from clients.bank import SYSTEM_PASSWORD, NoBank, running_bank
from clients.document import DOCUMENT
from clients.languages import LANGUAGES, Command, Language
from clients.walks import missing
from config import ROOT

OUTPUT = ROOT / "build" / "clients"
WALK_TIMEOUT_S = 120
_REQUIREMENTS = ROOT / "clients" / "generator.txt"
_INSTALLED = Path(sys.prefix) / "generator"
_JAR = _INSTALLED / "openapi_generator_cli" / "openapi-generator.jar"


class Failed(Exception):
    """A client could not be made, or its walk failed; the text says why."""


def main(names: Sequence[str] = ()) -> int:
    """Make each client that can be made, let it walk, and return how many failed."""
    failed = 0
    with ExitStack() as stack:
        address = None
        for language in LANGUAGES:
            if names and language.name not in names:
                continue
            absent = [tool for tool in language.tools if shutil.which(tool) is None]
            if absent:
                _say(f"{language.name}: left out, because this machine has no {' and no '.join(absent)}.")
                continue
            try:
                directory = _made(language)
                address = address or stack.enter_context(running_bank())
                _walk(language, directory, address)
            except (Failed, NoBank) as error:
                failed += 1
                _say(f"{language.name}: {error}")
            else:
                place = directory.relative_to(ROOT)
                _say(f"{language.name}: generated and compiled in {place}, and walked through the bank.")
    return failed


def _made(language: Language) -> Path:
    """Generate a client and compile it with its walk; return its folder."""
    directory = OUTPUT / language.folder
    shutil.rmtree(directory, ignore_errors=True)
    for command, folder in _commands(language, directory):
        _run(command, folder)
        if command[0] == "java":
            place = directory / language.place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(language.walk, place)
    return directory


def _commands(language: Language, directory: Path) -> Iterator[tuple[Command, Path]]:
    """Yield the commands that make a client, each with the folder that it runs in."""
    if not _JAR.exists():
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        yield (*pip, "--require-hashes", "--target", str(_INSTALLED), "-r", str(_REQUIREMENTS)), ROOT
    generate = ("java", "-jar", str(_JAR), "generate", "-i", str(DOCUMENT), "-o", str(directory), *language.switches)
    yield generate, ROOT
    for command in language.compiling:
        yield command, directory


def _walk(language: Language, directory: Path, address: str) -> None:
    program = str(directory / language.walking[0]) if "/" in language.walking[0] else language.walking[0]
    printed = _run((program, *language.walking[1:], address, SYSTEM_PASSWORD), directory, timeout_s=WALK_TIMEOUT_S)
    line = missing(printed)
    if line is not None:
        raise Failed(f"its walk did not print `{line}`, but:\n{printed}")


def _run(command: Command, directory: Path, timeout_s: float | None = None) -> str:
    """Run a command and return what it printed; raises Failed with that if it failed."""
    done = subprocess.run(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command[:3])} …` failed:\n{done.stdout[-4000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
