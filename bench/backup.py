"""How long a copy of a large ledger takes to make, to prove and to restore, and how much memory each needs.

python -m bench.backup [TRANSFERS]
"""

import argparse
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
from app.policies import MongoPolicy
from bench import filled
from config import ROOT
from local.replica_set import ReplicaSet, provision

TRANSFERS, TRANSFERS_BRIEF = 500_000, 500
ACCOUNTS = 1_000


def main() -> None:
    """Fill a ledger, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("transfers", type=int, nargs="?", default=TRANSFERS)
    parser.add_argument("--brief", action="store_true", help="a small ledger, to see that it works")
    arguments = parser.parse_args()
    transfers = TRANSFERS_BRIEF if arguments.brief else arguments.transfers
    with tempfile.TemporaryDirectory(prefix="fincore-bench-") as directory:
        servers = ReplicaSet(Path(directory) / "servers")
        servers.start()
        try:
            uri = provision(servers.admin_uri, filled.APP_PASSWORD)
            mongo.connect(MongoPolicy(uri, timeout_ms=600_000))
            filled.fill(ObjectId(), accounts=min(ACCOUNTS, transfers), transfers=transfers)
            mongo.close()
            copy = Path(directory) / "copy"
            _run(uri, "create", copy)
            print(f"{'size of the copy':<18} {sum(file.stat().st_size for file in copy.iterdir()) / 1e6:8.1f} MB")
            _run(uri, "verify", copy)
            address = urlsplit(servers.admin_uri)
            _run(urlunsplit((address.scheme, address.netloc, "/restored", address.query, "")), "restore", copy)
        finally:
            servers.stop()


def _run(uri: str, command: str, copy: Path) -> None:
    environment = {**os.environ, "ENV_FILE": os.devnull, "MONGO_URI": uri, "JWT_SECRET": os.urandom(32).hex()}
    begun = time.perf_counter()
    arguments = [sys.executable, "-m", "flask", "--app", "wsgi", "backup", command, str(copy)]
    subprocess.run(arguments, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"backup {command:<11} {seconds:8.1f} s, at most {memory:.0f} MB so far")


if __name__ == "__main__":
    main()
