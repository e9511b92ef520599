"""How gunicorn serves Fincore: `gunicorn wsgi:app`. Settings that vary come from the environment through config.py."""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

import config as settings  # because gunicorn has a setting named `config`
from app.http.retiring import RetiringWorker
from app.runtime.succession import Succession
from app.telemetry import files

try:
    _server = settings.load_server()
except settings.ConfigError as error:
    sys.exit(str(error))

bind = f"[{_server.host}]:{_server.port}" if ":" in _server.host else f"{_server.host}:{_server.port}"
workers = _server.workers
threads = _server.threads
RetiringWorker.request_timeout_s = _server.request_timeout_s
worker_class = RetiringWorker
# Not the parser in C, which gunicorn would use if it were installed, because that hangs on HTTP/1.9.
http_parser = "python"
# Each worker imports the application itself, because a MongoDB client must not be made before the fork.
preload_app = False

# A worker whose main thread gives no sign of life for this long is replaced. Requests run in other threads and may
# take longer.
timeout = 60
# Longer than any posting takes at its default POST_TIMEOUT_MS.
graceful_timeout = 30
keepalive = _server.keep_alive_s

accesslog = None  # the application logs its requests
errorlog = "-"
# Its default is a socket in the home directory, for which several instances would compete.
control_socket_disable = True
# The application itself decides whose X-Forwarded-* headers to trust (TRUSTED_PROXIES).
forwarded_allow_ips = ""
# Workers touch a file there to show that they are alive. On a slow disk that could take longer than `timeout`.
_MEMORY = "/dev/shm"  # noqa: S108 (gunicorn and we make unguessable names in it)
worker_tmp_dir = _MEMORY if os.access(_MEMORY, os.W_OK) else None


def on_starting(server: Arbiter) -> None:
    """Refuse to start, with one line and exit code 1, if the settings or the database are unfit.

    TLS settings are refused with exit code 3, after which nothing starts the server again. Our worker does no TLS.
    """
    if server.cfg.is_ssl:
        server.log.error("gunicorn's TLS settings (certfile, keyfile) are not supported: let a proxy in front do TLS.")
        sys.exit(3)
    if not _passes(server.log):
        sys.exit(1)
    _share_counts(server)
    # The workers lock this file; see app/runtime/turns.py. It has no name and no content, and must outlive a reload.
    server.turns = tempfile.TemporaryFile(dir=worker_tmp_dir)  # noqa: SIM115
    _watch_signals(server)


def _watch_signals(server: Arbiter) -> None:
    """Check before a reload that it will succeed, and tell the workers whether others will replace them."""
    succession = server.succession = Succession()
    reload_now, queue_signal, stop_now = server.handle_hup, server.signal, server.stop

    def reload_if_it_can_serve() -> None:
        if _passes(server.log):
            succession.begin()
            reload_now()
        else:
            server.log.error("Not reloaded, for the reason above. What runs goes on as it is.")

    def note_signal(number: int, frame: Any) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # At once, because a reload occupies the master until the former workers have ended.
            succession.end()
        queue_signal(number, frame)

    def stop(graceful: bool = True) -> None:
        # This is also called without a signal, if the new workers of a reload cannot start.
        succession.end()
        stop_now(graceful)

    server.handle_hup, server.signal, server.stop = reload_if_it_can_serve, note_signal, stop


def on_exit(server: Arbiter) -> None:
    """Remove the workers' counts, if the directory was made for this run."""
    if getattr(server, "are_counts_ours", False):
        shutil.rmtree(server.counts, ignore_errors=True)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Drop a worker's current values, such as the length of its queue, and its place, and keep its counts."""
    # A master that an earlier release started has neither.
    counts, occupancy = getattr(server, "counts", None), getattr(worker, "occupancy", None)
    if counts is not None:
        files.forget_present(counts, worker.pid)
    if occupancy is not None:
        occupancy.vacate(worker.age)


def _share_counts(server: Arbiter) -> None:
    """Choose the directory in which workers keep their counts; see app/telemetry/files.py.

    The master remembers it, because a reload runs this file again and forgets its variables.
    """
    server.are_counts_ours = _server.metrics_dir is None
    if _server.metrics_dir is None:
        server.counts = Path(tempfile.mkdtemp(prefix="fincore-metrics-", dir=worker_tmp_dir))
        settings.export({"PROMETHEUS_MULTIPROC_DIR": str(server.counts)})
        return
    server.counts = _server.metrics_dir
    server.counts.mkdir(parents=True, exist_ok=True)
    files.sweep(server.counts)


def _passes(log: Logger) -> bool:
    # In a process of its own, because the workers would inherit the imported modules and still run them after a reload.
    check = multiprocessing.get_context("fork").Process(target=_check, args=(log,))
    check.start()
    check.join()
    return check.exitcode == 0


def _check(log: Logger) -> None:
    _forget_imports()
    from pymongo.errors import ConnectionFailure, PyMongoError

    import config as settings  # as it lies on the disk now
    from app.mongo.readiness import NotReady, check_database
    from app.runtime.leash import end_with

    end_with(multiprocessing.parent_process().pid)
    try:
        settings.load_server()
        chosen = settings.load()
        check_database(chosen.mongo.uri, timeout_ms=chosen.mongo.timeout_ms)
    except (settings.ConfigError, NotReady) as error:
        sys.exit(str(error))
    except ConnectionFailure as error:
        # It may come back; until then /readyz says 503. The rest of the message is the driver's view of the set.
        log.warning("MongoDB cannot be reached: %s", str(error).partition(", Timeout:")[0])
    except PyMongoError as error:
        sys.exit(f"MongoDB refuses MONGO_URI: {str(error).partition(', full error')[0]}")


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Make the worker import the application itself, because after a reload the master's modules are outdated."""
    # A master that an earlier release started has none of these.
    worker.succession = getattr(server, "succession", None) or Succession()
    worker.generation = worker.succession.newest
    worker.turns = getattr(server, "turns", None)
    _forget_imports()


def _forget_imports() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("app", "config")]:
        del sys.modules[name]


def post_worker_init(worker: Worker) -> None:
    """Make the page's files, start the background tasks, take turns, and tell the former workers that this one serves.

    The tasks must start after the fork, because threads do not survive one.
    """
    from app import ledger
    from app.events import service as events
    from app.web.assets import assets

    # Now, so that the first visitor does not wait for them.
    assets(worker.wsgi.config["DEFAULT_CURRENCY"])
    if worker.turns is not None:
        ledger.take_turns(worker.turns.fileno())
    worker.wsgi.extensions["background"].start()
    worker.end_waiting = events.end_waiting
    worker.succession.serves(worker.generation)


def worker_exit(server: Arbiter, worker: Worker) -> None:  # noqa: ARG001 (as gunicorn calls it)
    """Let the background tasks finish their present runs."""
    application = getattr(worker, "wsgi", None)  # there is none if it could not be loaded
    if application is not None:
        application.extensions["background"].stop()
