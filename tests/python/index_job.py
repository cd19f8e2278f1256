# SPDX-License-Identifier: Apache-2.0
"""An Indexed Job without a cluster: what the job controller and the kubelet of Kubernetes make of a manifest.

Written from the documentation of batch/v1 (Job, podFailurePolicy, backoffLimitPerIndex): a pod for each index, its exit
code looked up in the rules from the first to the last, a failure that no rule has counted for its index.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def expanded(word: str, variables: dict[str, str]) -> str:
    """$(NAME) is a variable, or stays as it is; $$ is a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", value, word)


@dataclass
class IndexJob:
    """Runs the pods of a Job, `parallelism` at a time, on this machine. /data of the containers is `volume`."""

    job: dict[str, Any]
    volume: Path
    variables: dict[str, str]  # the keys of secrets
    on_start: Any = None  # called with the index, the number of the pod of this index, and its process
    completed: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    failures: Counter[int] = field(default_factory=Counter)
    pods: list[tuple[int, int]] = field(default_factory=list)  # index, exit code
    state: str = ""

    def action(self, code: int) -> str:
        for rule in self.job["spec"]["podFailurePolicy"]["rules"]:
            codes = rule.get("onExitCodes")
            if codes is None:
                continue
            assert codes["operator"] == "In"
            if code in codes["values"]:
                return str(rule["action"])
        return "Count"

    def words(self) -> list[str]:
        container = self.job["spec"]["template"]["spec"]["containers"][0]
        words = container["command"] + container["args"]
        return [expanded(word, {}).replace("/data/", f"{self.volume}/") for word in words]

    def start(self, index: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.variables, "JOB_COMPLETION_INDEX": str(index)}
        pod = subprocess.Popen(self.words(), env=environment, cwd=self.volume, stdin=subprocess.DEVNULL)
        if self.on_start is not None:
            self.on_start(index, sum(i == index for i, _ in self.pods), pod)
        return pod

    def settle(self, index: int, code: int, waiting: list[int]) -> None:
        self.pods.append((index, code))
        if code == 0:
            self.completed.add(index)
            return
        action = self.action(code)
        if action == "FailJob":
            self.state = "Failed"
        elif action == "FailIndex":
            self.failed.add(index)
        else:
            self.failures[index] += action == "Count"
            if self.failures[index] > self.job["spec"]["backoffLimitPerIndex"]:
                self.failed.add(index)
            else:
                waiting.append(index)

    def run(self) -> str:
        """To the end; returns "Complete" or "Failed"."""
        spec = self.job["spec"]
        assert spec["completionMode"] == "Indexed" and spec["podReplacementPolicy"] == "Failed"
        waiting = list(range(spec["completions"]))
        running: dict[int, subprocess.Popen[bytes]] = {}
        while running or (waiting and not self.state):
            while waiting and len(running) < spec["parallelism"] and not self.state:
                index = waiting.pop(0)
                running[index] = self.start(index)
            pid, status = os.waitpid(-1, 0)
            index = next(i for i, pod in running.items() if pod.pid == pid)
            pod = running.pop(index)
            code = os.waitstatus_to_exitcode(status)
            pod.returncode = code
            self.settle(index, code if code >= 0 else 128 - code, waiting)
            if self.state:
                for other in running.values():
                    other.terminate()
        return self.state or ("Failed" if self.failed else "Complete")
