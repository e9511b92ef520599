"""A proxy in front does TLS: the server refuses to start with TLS settings."""

import os
import subprocess
import sys
from pathlib import Path

from config import ROOT
from tests.server import JWT_SECRET


def test_tls_in_gunicorn_is_refused_in_one_sentence(mongo_uri: str, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("Nobody reads it.")
    environment = {**os.environ, "ENV_FILE": os.devnull, "MONGO_URI": mongo_uri, "JWT_SECRET": JWT_SECRET}
    command = [sys.executable, "-m", "gunicorn", "--certfile", str(certificate), "--bind", "127.0.0.1:0", "wsgi:app"]

    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 3
    (said,) = (line for line in run.stderr.splitlines() if "[ERROR]" in line)
    assert "proxy" in said
    assert "Traceback" not in run.stderr
