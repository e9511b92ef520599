"""What a copy of a ledger takes to make, to prove and to restore: python -m bench.backup [ENTRIES]"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bson import ObjectId

from app import mongo
from app.settings.policies import MongoPolicy
from bench.bank import own_replica_set
from bench.extent import argument, extent
from bench.filled import fill
from config import ROOT

ENTRIES = 1_000_000
ACCOUNTS = extent(1_000, brief=10)
TIMEOUT_MS = 60_000


def main() -> None:
    entries = argument(ENTRIES, brief=1_000)
    with own_replica_set() as (servers, uri), tempfile.TemporaryDirectory(prefix="fincore-bench-") as directory:
        mongo.connect(MongoPolicy(uri, timeout_ms=TIMEOUT_MS))
        fill(ObjectId(), accounts=ACCOUNTS, transfers=entries // 2)
        mongo.close()
        copy = Path(directory) / "copy"
        run_command(uri, "create", copy)
        print(f"the copy has {sum(file.stat().st_size for file in copy.iterdir()) / 1e6:.1f} MB")
        run_command(uri, "verify", copy)
        run_command(beside(servers.admin_uri), "restore", copy)


def beside(admin_uri: str) -> str:
    """Return the administrator's address of an empty database on the same servers."""
    address = urlsplit(admin_uri)
    return urlunsplit((address.scheme, address.netloc, "/restored", address.query, ""))


def run_command(uri: str, command: str, copy: Path) -> None:
    """Run a command of `flask backup`, and print its time and memory."""
    environment = {**os.environ, "ENV_FILE": os.devnull, "MONGO_URI": uri, "JWT_SECRET": os.urandom(32).hex()}
    arguments = [sys.executable, "-m", "flask", "--app", "wsgi", "backup", command, str(copy)]
    begun = time.perf_counter()
    subprocess.run(arguments, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    # Of the largest of all commands so far.
    memory_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"backup {command:<8} {seconds:6.1f} s, peak memory up to here {memory_kb / 1024:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
