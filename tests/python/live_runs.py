# SPDX-License-Identifier: Apache-2.0
"""A run that somebody watches: it is slow for its quota, and ends at once when that is lifted."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import COMMAND

PATIENCE = 60.0


class LiveRun:
    """`reembed run` over a sample, four texts a request and two requests a second, until the test says otherwise."""

    def __init__(self, database: Path, url: str, job: Path, *more: str) -> None:
        self.job = job
        self.command = [COMMAND, "run", "--system", "agentloop", "--db", str(database), "--api-base", url, "--model",
                        "text-embedding-3-small", "--dimensions", "512", "--all", "--yes", "--job", str(job), "--json"]
        self.process = subprocess.Popen([*self.command, *more, "--rpm", "120", "--batch-size", "4", "--concurrency", "4"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.err = ""

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, "ctl", str(self.job), *words, "--json"], capture_output=True, text=True)

    def ask(self, *words: str) -> dict[str, Any]:
        answer = self.ctl(*words)
        assert answer.returncode == 0, answer.stderr
        return dict(json.loads(answer.stdout))

    def look(self) -> dict[str, Any]:
        return self.ask("status")

    def wait(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first look at which this is true."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.ctl("status")
            if answer.returncode == 0 and true(look := json.loads(answer.stdout)):
                return dict(look)
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, answer
            time.sleep(0.02)

    def running(self) -> dict[str, Any]:
        return self.wait(lambda look: look["run"]["rows_done"] > 0)

    def paused(self) -> dict[str, Any]:
        """Pauses it, and waits until all that was in the air is written."""
        self.ask("pause")
        before: list[Any] = []

        def still(look: dict[str, Any]) -> bool:
            run = look["run"]
            before.append((run["requests"], run["rows_done"], [t["position"] for t in run["targets"]]))
            return bool(run["in_the_air"] == 0 and len(before) > 20 and before[-1] == before[-20])

        return self.wait(still)

    def dashboard(self) -> str:
        return str(self.ask("dashboard")["url"])

    def hurry(self) -> tuple[int, dict[str, Any]]:
        """Lets it end: the exit code and the summary."""
        self.ask("rate", "rpm=0")
        return self.ended()

    def ended(self) -> tuple[int, dict[str, Any]]:
        out, self.err = self.process.communicate(timeout=PATIENCE)
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines[-1]["message_type"] == "summary", out + self.err
        return self.process.returncode, dict(lines[-1])

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
