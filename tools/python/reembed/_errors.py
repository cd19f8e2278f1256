# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, by the exit code of the command."""

from __future__ import annotations

from typing import Any


class ReembedError(Exception):
    """The command ended with an error.

    `exit_code` is what it told the shell; `result` what it had counted until then (a RunSummary, a Verification, ...),
    or None; `notes` what it said by the way.
    """

    exit_code: int = 1

    def __init__(self, message: str, exit_code: int | None = None, result: Any = None, notes: tuple[str, ...] = ()):
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code
        self.result = result
        self.notes = notes


class FailedError(ReembedError):
    """1, and every code that this version does not know."""


class UsageError(ReembedError, ValueError):
    """2: a wrong argument, a file that is not there, or consent that was not given (`yes=True`)."""

    exit_code = 2


class QualityGateError(ReembedError):
    """4: the new vectors are not as good as was asked for."""

    exit_code = 4


class TemporaryError(ReembedError):
    """5: the same call goes on where it stopped."""

    exit_code = 5


class FatalError(ReembedError):
    """6: key, quota, model or width; change something first."""

    exit_code = 6


class SpendCapError(ReembedError):
    """7: `max_spend` is reached; what is bought is kept."""

    exit_code = 7


class MismatchError(ReembedError):
    """8: targets do not hold what the job says; `result` names the rows."""

    exit_code = 8


class TimeLimitError(ReembedError):
    """10: the time that was given is over; the same call goes on."""

    exit_code = 10


class LockedError(ReembedError):
    """11: another run holds the job, or the column."""

    exit_code = 11


class InterruptedRun(ReembedError):
    """129 or 143: the command got HUP or TERM; the same call goes on. Ctrl-C is a KeyboardInterrupt as everywhere."""

    exit_code = 143


_BY_CODE: dict[int, type[ReembedError]] = {
    2: UsageError,
    4: QualityGateError,
    5: TemporaryError,
    6: FatalError,
    7: SpendCapError,
    8: MismatchError,
    10: TimeLimitError,
    11: LockedError,
    129: InterruptedRun,
    143: InterruptedRun,
}


def error_of(exit_code: int, message: str, result: Any, notes: tuple[str, ...]) -> ReembedError:
    """The exception for an exit code; one below zero is the signal that killed the command."""
    if exit_code < 0:
        exit_code = 128 - exit_code
    kind = _BY_CODE.get(exit_code, FailedError)
    return kind(message or f"reembed ended with exit code {exit_code}", exit_code, result, notes)
