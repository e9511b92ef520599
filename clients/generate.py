"""Generates clients in Java, Go and Rust from openapi.json and compiles them: `make clients`.

A language whose tools are not on this machine is left out, and that is said. It exits with 1 if one fails.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clients.document import DOCUMENT
from config import ROOT

OUTPUT = ROOT / "build" / "clients"
_REQUIREMENTS = ROOT / "clients" / "generator.txt"
_INSTALLED = Path(sys.prefix) / "generator"
_JAR = _INSTALLED / "openapi_generator_cli" / "openapi-generator.jar"


@dataclass(frozen=True, slots=True)
class Language:
    """A language: the generator's name and switches for it, the tools that it takes, and how it is compiled."""

    name: str
    tools: tuple[str, ...]
    switches: tuple[str, ...]
    compiling: tuple[tuple[str, ...], ...]


# The generator itself runs on Java.
LANGUAGES = (
    Language(
        "Java",
        ("java", "mvn"),
        (
            *("-g", "java", "--library", "native", "--group-id", "example.fincore", "--artifact-id", "fincore-client"),
            *("--invoker-package", "example.fincore", "--api-package", "example.fincore.api"),
            *("--model-package", "example.fincore.model", "--additional-properties", "hideGenerationTimestamp=true"),
        ),
        (("mvn", "--quiet", "--batch-mode", "compile"),),
    ),
    Language(
        "Go",
        ("java", "go"),
        (
            *("-g", "go", "--package-name", "fincore", "--git-host", "fincore.example"),
            *("--git-user-id", "fincore", "--git-repo-id", "client", "--additional-properties", "withGoMod=true"),
            *("--global-property", "apis,models,supportingFiles,apiTests=false,modelTests=false"),
        ),
        (("go", "mod", "tidy"), ("go", "build", "./...")),
    ),
    Language(
        "Rust", ("java", "cargo"), ("-g", "rust", "--package-name", "fincore-client"), (("cargo", "check", "--quiet"),)
    ),
)


def main() -> int:
    """Generate and compile what can be; return how many failed."""
    failed = 0
    for language in LANGUAGES:
        missing = [tool for tool in language.tools if shutil.which(tool) is None]
        if missing:
            print(f"{language.name}: left out, because this machine has no {' and no '.join(missing)}.", flush=True)
            continue
        directory = OUTPUT / language.name.lower()
        shutil.rmtree(directory, ignore_errors=True)
        refused = next(filter(None, map(_failure, _commands(language, directory))), None)
        failed += refused is not None
        print(f"{language.name}: {refused or f'generated and compiled in {directory.relative_to(ROOT)}.'}", flush=True)
    return failed


def _commands(language: Language, directory: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield the commands that make a client, each with the folder that it runs in."""
    if not _JAR.exists():
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        yield (*pip, "--require-hashes", "--target", str(_INSTALLED), "-r", str(_REQUIREMENTS)), ROOT
    generate = ("java", "-jar", str(_JAR), "generate", "-i", str(DOCUMENT), "-o", str(directory), *language.switches)
    yield generate, ROOT
    for command in language.compiling:
        yield command, directory


def _failure(planned: tuple[tuple[str, ...], Path]) -> str | None:
    """Run a command; return what went wrong, or None."""
    command, directory = planned
    done = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return None if done.returncode == 0 else f"`{' '.join(command[:3])} …` failed:\n{done.stdout[-4000:]}"


if __name__ == "__main__":
    sys.exit(min(main(), 1))
