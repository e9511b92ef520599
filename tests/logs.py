"""Shows what the bank under test writes into its log."""

import logging
from types import ModuleType

import pytest
import structlog


def let_tell(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let the module log everything, because the tests' bank logs errors only."""
    # A new logger each time, because a logger remembers where its first line went.
    talkative = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    monkeypatch.setattr(module, "log", talkative)
