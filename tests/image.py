"""Builds the image without Docker, and tries it: executes each step of the Dockerfile in a clean Debian.

    python -m tests.image DIRECTORY         # as root, with Debian's `debootstrap`; DIRECTORY keeps the clean Debian

`FROM python:3.11-slim-bookworm` is Debian's smallest bookworm with its Python 3.11. A container is a chroot in mount
and process namespaces of its own, without capabilities, and its root is mounted read-only. The network is this
machine's. So only Docker's own base image, layers and networks remain untested.

Then the image's user starts the image's command on a replica set of this machine. The image's own health check must
find it healthy, somebody opens an account and gets a statement, the doctor finds no fault, and nobody can write to the
root.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config import ROOT
from local.processes import free_port, holds_within
from local.replica_set import ReplicaSet, provision
from tests.clients import OverHttp
from tests.people import Caller

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
PACKAGES = "python3,python3-venv,ca-certificates"
START_TIMEOUT_S = 120.0
# The settings by which pip reaches its index here, and which authorities it trusts.
OF_PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "LINKS" not in name}
TLS = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass
class Stage:
    """A stage of the Dockerfile: its root, and what its instructions have set."""

    root: Path
    workdir: str = "/"
    user: str = "0"
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def enter(self, command: list[str], **more: str) -> list[str]:
        """Return the command that runs `command` in the stage, as its user, with nothing but its environment."""
        variables = [f"{name}={value}" for name, value in (self.environment | more).items()]
        inside = ["sh", "-c", f'cd {self.workdir} && exec "$@"', "sh", *command]
        dropped = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--bounding-set=-all"]
        as_user = [] if self.user == "0" else [*dropped, "--no-new-privs", "--"]
        return ["chroot", str(self.root), *as_user, "env", "-i", *variables, *inside]

    def note(self, name: str, rest: str) -> None:
        """Apply an instruction about the container."""
        match name:
            case "ENV":
                for word in shlex.split(rest):
                    variable, _, value = word.partition("=")
                    self.environment[variable] = value.replace("$PATH", self.environment["PATH"])
            case "USER":
                self.user = rest
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition(" CMD ")[2])
            case "CMD":
                self.command = json.loads(rest)
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise AssertionError(f"This script does not know {name}.")

    def run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.enter(command, **more), text=True, capture_output=True, check=False)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


def build(base: Path, work: Path) -> Stage:
    """Carry out the Dockerfile, and return its last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(work)
    for name, rest in instructions():
        say(f"{name} {rest}")
        match name:
            case "FROM":
                image, _, alias = rest.partition(" AS ")
                assert image == "python:3.11-slim-bookworm", "the clean Debian stands for this one"
                stage = stages[alias or "last"] = Stage(work / (alias or "last"))
                subprocess.run(["cp", "--archive", str(base), str(stage.root)], check=True)
            case "WORKDIR":
                stage.workdir = rest
                (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "RUN":
                done = stage.run(["sh", "-c", rest], **OF_PIP)
                assert done.returncode == 0, done.stdout + done.stderr
            case "COPY":
                copy(stage, stages, rest)
            case _:
                stage.note(name, rest)
    return stage


def copy(stage: Stage, stages: dict[str, Stage], rest: str) -> None:
    words = rest.split()
    source = ROOT
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, to = words
    target = stage.root / os.path.join(stage.workdir, to).lstrip("/")
    for name in names:
        found = source / name.lstrip("/")
        if found.is_dir():
            # As .dockerignore says.
            skipped = shutil.ignore_patterns("__pycache__") if source == ROOT else None
            shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True, ignore=skipped)
        else:
            shutil.copy(found, target)


def clean_debian(directory: Path) -> Path:
    """Return a clean Debian with Python, made if it is not there."""
    base = directory / "bookworm"
    if not (base / "usr/local/bin/python").is_symlink():
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for file in (Path("/etc/resolv.conf"), TLS):
        shutil.copy(file, base / str(file).lstrip("/"))
    return base


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    """Mount the root read-only, and what the composition gives a container to write to."""
    root = str(stage.root)
    mounts = (
        ["--bind", root, root],
        ["-o", "remount,ro,bind", root],
        ["-t", "proc", "proc", f"{root}/proc"],
        ["--rbind", "/dev", f"{root}/dev"],
        ["-t", "tmpfs", "tmpfs", f"{root}/dev/shm"],
        ["-t", "tmpfs", "tmpfs", f"{root}/tmp"],
    )
    for mount in mounts:
        subprocess.run(["mount", *mount], check=True)
    yield


def attempt(stage: Stage) -> None:
    """Serve a bank from the image, and check that it does what a container has to do."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        members = ReplicaSet(Path(directory))
        members.start()
        port = free_port()
        settings = {
            "MONGO_URI": provision(members.admin_uri, secrets.token_hex(16)),
            "JWT_SECRET": secrets.token_urlsafe(48),
            "RECEIPT_KEY": secrets.token_hex(32),
            "MAIL_DELIVERY": "off",
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        server = subprocess.Popen(stage.enter(stage.command, **settings))
        try:
            healthy = lambda: stage.run(stage.health, **settings).returncode == 0  # noqa: E731
            assert holds_within(START_TIMEOUT_S, healthy), "never healthy"
            say("The image's own health check finds it healthy.")
            use(port)
            for place in ("/srv/fincore/planted", "/planted", "/venv/planted"):
                assert stage.run(["touch", place], **settings).returncode != 0, place
            say("Its user cannot write to the root.")
            found = stage.run(["flask", "doctor", "--json"], **settings)
            faults = [line for line in found.stdout.splitlines() if json.loads(line)["state"] == "fault"]
            assert not faults, faults
            say("The doctor finds no fault.")
        finally:
            server.terminate()
            assert server.wait(60) == 0, server.returncode
            members.stop()
        say("It stops in order.")


def use(port: int) -> None:
    anonymous = Caller(OverHttp(port))
    person = {"name": "Asha Rao", "email": "asha@fincore.example", "password": "a long enough password"}
    asha = Caller(anonymous.client, anonymous.post("/api/auth/register", person).body["token"])
    account = asha.post("/api/accounts/create", {}).body["account"]["id"]
    statement = asha.get(f"/api/accounts/{account}/statement?format=pdf")
    assert statement.content.startswith(b"%PDF-"), statement.content
    assert anonymous.get("/").status == 200
    say("Somebody opens an account, gets a statement in PDF, and the page.")


def main() -> None:
    if len(sys.argv) != 2 or os.geteuid() != 0:
        sys.exit(__doc__)
    directory = Path(sys.argv[1]).resolve()
    if "IN_NAMESPACES" not in os.environ:
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--mount-proc"]
        command = [*apart, sys.executable, "-m", "tests.image", str(directory)]
        sys.exit(subprocess.run(command, env={**os.environ, "IN_NAMESPACES": "1"}, check=False).returncode)
    directory.mkdir(parents=True, exist_ok=True)
    base = clean_debian(directory)
    with tempfile.TemporaryDirectory(dir=directory) as work:
        stage = build(base, Path(work))
        # Python compiled everything while the image was built, because it cannot later.
        assert list(stage.root.glob("srv/fincore/app/**/*.pyc"))
        with read_only(stage):
            attempt(stage)
            subprocess.run(["umount", "--recursive", str(stage.root)], check=True)


if __name__ == "__main__":
    main()
