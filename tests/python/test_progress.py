# SPDX-License-Identifier: Apache-2.0
"""Progress of long commands: a live line on a terminal, plain lines elsewhere, and nothing where it is not wanted.

A command is held up by a lock on its database, so that it takes as long as the test wants."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import sqlite3
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import COMMAND

PATIENCE = 60.0


@pytest.fixture
def job(database: Path, tmp_path: Path) -> Path:
    path = tmp_path / "job"
    ran = subprocess.run([COMMAND, "run", "--system", "agentloop", "--db", database, "--embedder", "builtin", "--job", path,
                          "--all", "--quiet", "--accept-rejects"])
    assert ran.returncode == 0
    return path


@contextmanager
def locked(database: Path, lock: str = "EXCLUSIVE") -> Iterator[None]:
    """Nobody else reads (EXCLUSIVE) or writes (IMMEDIATE) it meanwhile."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute(f"BEGIN {lock}")
    yield
    db.execute("ROLLBACK")
    db.close()


class Terminal:
    """A command whose standard error is a terminal."""

    def __init__(self, words: list[str], columns: int, **variables: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm", **variables}
        self.process = subprocess.Popen([COMMAND, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
                                        text=True, env=env)
        os.close(theirs)
        self.terminal = ours
        self.seen = ""

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen):
            left = end - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {self.seen!r}"
            if select.select([self.terminal], [], [], left)[0]:
                self.seen += os.read(self.terminal, 4096).decode()

    def end(self) -> int:
        # What is written last would be lost with the terminal; who reads it sees the end.
        while True:
            try:
                more = os.read(self.terminal, 4096).decode()
            except OSError:
                break
            if not more:
                break
            self.seen += more
        os.close(self.terminal)
        assert self.process.stdout is not None
        self.process.stdout.read()
        return self.process.wait()


COMMANDS = {
    "verify": (["verify", "{job}"], r"comparing 0 of \d+ rows, 0\.0 %[^\r]*memory\.db"),
    "rollback": (["rollback", "{job}", "--yes"], r"putting back \d+ of \d+ rows, [\d.]+ %[^\r]*memory\.db"),
    "backup": (["backup", "--source", "sqlite:{database}", "--to", "saved"], r"saving [^\r]* of [\d.]+ .B[^\r]*memory\.db"),
}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_terminal_shows_one_line_and_keeps_nothing(name: str, job: Path, database: Path) -> None:
    words, shown = COMMANDS[name]
    with locked(database, "IMMEDIATE" if name == "rollback" else "EXCLUSIVE"):
        run = Terminal([word.format(job=job, database=database) for word in words], 200)
        run.wait_for(shown)
        run.wait_for(r"\r\x1b\[K[^\r\x1b]+\x1b\[J\r\x1b\[K")  # drawn over itself
    code = run.end()
    assert code == 0, run.seen
    assert run.seen.endswith("\r\x1b[K\x1b[J"), run.seen[-80:]
    # No colour, and no other sequence than those that draw over a line.
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", run.seen)) <= {"\x1b[K", "\x1b[J"}


def test_a_narrow_terminal_gets_what_fits(job: Path, database: Path) -> None:
    with locked(database):
        run = Terminal(["verify", str(job)], 20)
        run.wait_for(r"\r\x1b\[K[^\r\x1b]+\x1b\[J")
    run.end()
    for line in re.findall(r"\r\x1b\[K([^\r\x1b]*)", run.seen):
        assert len(line) < 20, line


@pytest.mark.parametrize(("flags", "variables"), [
    (["--quiet"], {}), (["--progress", "off"], {}), ([], {"TERM": "dumb"}), ([], {"REEMBED_PROGRESS": "off"}),
])
def test_nothing_is_drawn_where_it_is_not_wanted(job: Path, database: Path, tmp_path: Path, flags: list[str],
                                                 variables: dict[str, str]) -> None:
    with locked(database):
        run = Terminal(["verify", str(job), *flags], 80, **variables)
        # One that was begun later draws meanwhile.
        other = Terminal(["verify", str(job)], 80)
        other.wait_for(r"comparing 0 of")
        other.wait_for(r"\r\x1b\[K[^\r\x1b]+\x1b\[J\r\x1b\[K[^\r\x1b]+\x1b\[J\r\x1b\[K")
    assert (other.end(), run.end()) == (0, 0)
    assert "\x1b" not in run.seen and "\r\n" not in run.seen.strip("\r\n"), run.seen


def test_quiet_says_nothing(job: Path, database: Path) -> None:
    for words in (["verify", job], ["backup", "--source", f"sqlite:{database}", "--to", "b"], ["restore", "b", "--yes"],
                  ["rollback", job, "--yes"]):
        ran = subprocess.run([COMMAND, *map(str, words), "--quiet"], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), words


def test_programs_get_lines_of_json(job: Path, database: Path) -> None:
    with locked(database):
        run = subprocess.Popen([COMMAND, "verify", str(job), "--progress", "json"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        assert run.stdout is not None
        line = json.loads(run.stdout.readline())
    assert line["message_type"] == "status"
    assert {"stage", "done", "total", "unit", "elapsed_seconds"} <= set(line)
    rest, said = run.communicate()
    assert (run.returncode, said) == (0, "")
    assert json.loads(rest.splitlines()[-1])["message_type"] == "summary"


def test_a_pipe_gets_no_sequences(job: Path, database: Path) -> None:
    ran = subprocess.run([COMMAND, "verify", str(job)], capture_output=True, text=True,
                         env={**os.environ, "TERM": "xterm-256color", "CLICOLOR_FORCE": "1", "FORCE_COLOR": "1"})
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout + ran.stderr and "\r" not in ran.stdout + ran.stderr
