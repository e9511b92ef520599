"""What is started from the prepared process is as if Python had been started: tests rely on it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.processes import holds_within
from tests import prepared
from tests.server import children

TELLS = """
import json, os, signal, sys

json.dump({
    "arguments": sys.argv, "directory": os.getcwd(), "environment": dict(os.environ), "path": sys.path,
    "parent": os.getppid(), "is_leader": os.getsid(0) == os.getpid(), "encoding": sys.stdout.encoding.lower(),
    "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler, "flags": list(sys.flags),
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "name": __name__, "package": __package__,
    "input": sys.stdin.read(), "open": len(os.listdir("/proc/self/fd")), "zone": __import__("time").tzname,
    "ours": sorted(n for n in sys.modules if n.partition(".")[0] in ("app", "config", "tests", "wsgi", "gunicorn")),
}, sys.stdout)
print("complaint", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("is_leader", [False, True])
def test_a_program_sees_what_it_sees_when_it_is_started(tmp_path: Path, is_leader: bool) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    command = [sys.executable, "-m", "tells", "one", "zwei ß"]
    how: dict[str, Any] = {
        "cwd": tmp_path,
        "env": {**os.environ, "TZ": "Asia/Kolkata", "GIVEN": "ß"},
        "start_new_session": is_leader,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }

    told = []
    for start in (subprocess.Popen[str], prepared.Popen):
        with start(command, **how) as process:
            said, complained = process.communicate()
        assert (process.returncode, complained) == (3, "complaint\n")
        told.append(json.loads(said))

    started, forked = told
    # -P is how the prepared process was started itself.
    assert forked.pop("flags")[:-3] == started.pop("flags")[:-3]
    assert forked == started
    assert started["ours"] == []


def test_what_is_started_is_a_child_that_can_be_stopped_and_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import signal\nsignal.pause()\n")

    process = prepared.Popen([sys.executable, "-m", "waits", "some-name"], cwd=tmp_path)

    assert process.pid in children(os.getpid())
    assert holds_within(60, lambda: Path(f"/proc/{process.pid}/comm").read_text() == "some-name\n")
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
