# SPDX-License-Identifier: Apache-2.0
"""Finds the command, runs it, and hands on its JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ._errors import FailedError, error_of

_INSTALLED = Path(__file__).parent / "_installed" / "bin" / "reembed"

_MOST_NOTES = 1000  # the last ones

Message = dict[str, Any]


def command_path() -> str:
    """The command that calls run: $REEMBED_COMMAND, the one that came with this package, or the one on the PATH."""
    named = os.environ.get("REEMBED_COMMAND")
    if named:
        return named
    if _INSTALLED.exists():
        return str(_INSTALLED)
    found = shutil.which("reembed")
    if found is None:
        raise FailedError(
            "the command `reembed` is not on the PATH and did not come with this package; install the package, or set "
            "REEMBED_COMMAND to it"
        )
    return found


def command_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the command: this process's, and where Python keeps certificates, for machines without any."""
    environment = dict(os.environ)
    environment.pop("REEMBED_COMMAND", None)
    environment.update(more or {})
    if "REEMBED_CERTIFI" not in environment:
        try:
            import certifi

            environment["REEMBED_CERTIFI"] = certifi.where()
        except ImportError:
            pass
    return environment


def version() -> str:
    """The version of the command, "0.2.0"; empty if there is none."""
    try:
        said = subprocess.run([command_path(), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError, FailedError):
        return ""
    return said.split()[-1] if said.split() else ""


def main() -> NoReturn:
    """The console script: becomes the command, so that signals and exit codes are its own."""
    path = command_path()
    if Path(path).resolve() == Path(sys.argv[0]).resolve():
        sys.exit("reembed: this package came without its command")
    os.execve(path, ["reembed", *sys.argv[1:]], command_environment())


@dataclass
class Outcome:
    """What a command printed: its lines, the error if it named one, what it said by the way."""

    exit_code: int
    messages: list[Message]
    error: str
    notes: tuple[str, ...]

    def last(self, kind: str) -> Message | None:
        return next((m for m in reversed(self.messages) if m.get("message_type") == kind), None)

    def all(self, kind: str) -> list[Message]:
        return [m for m in self.messages if m.get("message_type") == kind]


def _read_errors(stream: Any, notes: deque[str], errors: deque[str]) -> None:
    for line in stream:
        line = line.rstrip("\n")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if isinstance(said, dict) and said.get("message_type") == "error":
            errors.append(str(said.get("message", "")))
        elif isinstance(said, dict) and said.get("message_type") == "note":
            notes.append(str(said.get("message", "")))
        elif line:
            notes.append(line)


def _write_input(stream: Any, text: str) -> None:
    try:
        stream.write(text)
        stream.close()
    except BrokenPipeError:
        pass  # it ended before it read all; its exit code says why


def call(
    words: Sequence[str],
    *,
    on_message: Callable[[Message], None] | None = None,
    env: Mapping[str, str] | None = None,
    standard_input: str | None = None,
    keep: Callable[[Message], bool] | None = None,
) -> Outcome:
    """Runs `reembed WORDS` and returns when it has ended.

    A Ctrl-C goes to the command as one SIGINT, its end is waited for, and KeyboardInterrupt is raised; a second one
    goes on to it likewise, and has it drop what is under way. An exception of `on_message` stops the command in the
    same way. `keep` says which lines are kept in the outcome; default: all.
    """
    process = subprocess.Popen(
        [command_path(), *words],
        stdin=subprocess.DEVNULL if standard_input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=command_environment(env),
        # Out of the terminal's foreground group: a Ctrl-C reaches it once, by us, and not a second time as a wish to
        # drop what is paid for.
        start_new_session=True,
    )
    notes: deque[str] = deque(maxlen=_MOST_NOTES)
    errors: deque[str] = deque(maxlen=1)
    messages: list[Message] = []
    helpers = [threading.Thread(target=_read_errors, args=(process.stderr, notes, errors), daemon=True)]
    if standard_input is not None:
        helpers.append(threading.Thread(target=_write_input, args=(process.stdin, standard_input), daemon=True))
    for helper in helpers:
        helper.start()
    raised: BaseException | None = None
    output = process.stdout
    assert output is not None
    while True:
        try:
            for line in output:
                try:
                    message = json.loads(line)
                except ValueError:
                    notes.append(line.rstrip("\n"))
                    continue
                if keep is None or keep(message):
                    messages.append(message)
                if on_message is not None and raised is None:
                    on_message(message)
            code = process.wait()
            for helper in helpers:
                helper.join()
            break
        except BaseException as problem:  # noqa: BLE001
            raised = raised or problem
            process.send_signal(signal.SIGINT)
    output.close()
    if raised is not None:
        raise raised
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    return Outcome(code, messages, errors[-1] if errors else "", tuple(notes))


def check(outcome: Outcome, result: Any, good: tuple[int, ...] = (0,)) -> None:
    """Raises what the exit code means, if that is none of `good`."""
    if outcome.exit_code not in good:
        raise error_of(outcome.exit_code, outcome.error, result, outcome.notes)
