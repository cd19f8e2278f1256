# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python module share. They want REEMBED_COMMAND: the command to call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "python"))
COMMAND = os.environ["REEMBED_COMMAND"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's is read or written."""
    for name in [n for n in os.environ if n.startswith("REEMBED_") and n != "REEMBED_COMMAND"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A sample of agentloop's database: 300 messages, some of them without a usable text."""
    path = tmp_path / "memory.db"
    subprocess.run([COMMAND, "systems", "agentloop", "--make-sample", path, "--rows", "300"], check=True)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts embedding servers: serve("--latency-ms", "50") is the URL of a new one."""
    running: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> str:
        server = subprocess.Popen([COMMAND, "serve", "--port", "0", *flags], stdout=subprocess.PIPE, text=True)
        running.append(server)
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("listening on http://"), line
        return line.split()[2]

    yield start
    for server in running:
        server.kill()
        server.wait()
