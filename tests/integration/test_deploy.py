"""The files for production agree with each other: the image, the composition, the units and the proxy."""

import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from config import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) | {"ENV_FILE"}
# Variables that are read by Python, gunicorn, flask or the shell, and not by the application.
OF_OTHERS = {"PATH", "PYTHONUNBUFFERED", "FLASK_APP"}


def composed() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    return document


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_gets_all_that_the_application_is_and_nothing_else() -> None:
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
        for name in line.split()[:-1]
    }
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == sent == {"app", "config.py", "gunicorn.conf.py", "wsgi.py", "requirements.txt"}
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_needs_nobody_else_to_know_that_it_is_healthy() -> None:
    text = DOCKERFILE.read_text()

    assert "HEALTHCHECK" in text
    assert "curl" not in text
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)


@pytest.mark.parametrize("service", ["app", "deliverer", "schema"])
def test_each_setting_of_the_composition_exists(service: str) -> None:
    environment = composed()["services"][service]["environment"]

    assert environment.keys() <= SETTINGS
    assert composed()["services"][service]["read_only"]


def test_the_settings_of_the_image_exist() -> None:
    (line,) = re.findall(r"^ENV (.+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert {word.partition("=")[0] for word in line.split()} <= SETTINGS | OF_OTHERS


def test_every_secret_of_the_composition_is_made() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "docker" / "compose.yaml").read_text()))
    made = dict(line.split("=", 1) for line in run("./secrets.sh", cwd=DEPLOY / "docker").splitlines())

    assert asked == made.keys()
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{48,}", value) for value in made.values())


def test_the_composition_starts_in_an_order_that_works() -> None:
    services = composed()["services"]

    def before(name: str) -> set[str]:
        return {earlier for needed in services[name].get("depends_on", ()) for earlier in {needed, *before(needed)}}

    assert (
        before("app")
        == before("deliverer")
        == {"database-user", "schema", "replica-set", "mongo1", "mongo2", "mongo3", "member-key"}
    )


def test_every_file_of_the_composition_exists() -> None:
    for service in composed()["services"].values():
        for volume in service.get("volumes", ()):
            if volume.startswith("."):
                assert (DEPLOY / "docker" / volume.partition(":")[0]).exists(), volume


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing; Debian's package is `systemd`.")
    # Where it is checked, the program is not installed.
    text = re.sub(r"/opt/fincore/\.venv/bin/\w+", "/bin/true", unit.read_text())
    (tmp_path / unit.name).write_text(text)
    run("systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_settings_of_the_units_exist(unit: Path) -> None:
    (line,) = re.findall(r"^Environment=(.+)$", unit.read_text(), re.MULTILINE)

    assert {word.partition("=")[0] for word in line.split()} <= SETTINGS


def test_nginx_takes_its_settings(tmp_path: Path) -> None:
    nginx, openssl = which("nginx") or which("nginx", path="/usr/sbin"), which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is missing; Debian's packages are `nginx` and `openssl`.")
    make = f"{openssl} req -x509 -newkey rsa:2048 -nodes -subj /CN=bank.example -days 1".split()
    run(*make, "-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem"))
    site = tmp_path / "fincore.conf"
    site.write_text((DEPLOY / "nginx" / "fincore.conf").read_text().replace("/etc/ssl/bank.example", str(tmp_path)))
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include {site}; }}")
    run(nginx, "-t", "-c", str(whole))
