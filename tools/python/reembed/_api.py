# SPDX-License-Identifier: Apache-2.0
"""The calls: each is the command of the same name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._command import Message, call, check
from ._flags import words_of
from ._progress import ProgressLine
from ._results import (
    Plan,
    Progress,
    Reject,
    Rollback,
    RunSummary,
    Status,
    TargetState,
    Verification,
    from_message,
    receipt_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._flags import JobFlags


def plan(
    job_file: str | os.PathLike[str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    **flags: Unpack[JobFlags],
) -> Plan:
    """What `run` with the same arguments would do and cost; writes and sends nothing."""
    outcome = call(["plan", *words_of(job_file, flags), "--json"], env=env)
    message = outcome.last("plan")
    result = None if message is None else from_message(Plan, message)
    check(outcome, result)
    assert result is not None
    return result


def run(
    job_file: str | os.PathLike[str] | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    progress: bool = False,
    env: Mapping[str, str] | None = None,
    **flags: Unpack[JobFlags],
) -> RunSummary:
    """Does a job: embeds the rows and fills the targets. The same call goes on after a stop, and buys nothing twice.

    `on_progress` is called on this thread, about once a second; an exception from it stops the run as Ctrl-C does.
    `progress=True` shows a line, in a notebook a bar. Rejected rows are no exception: see RunSummary. Ctrl-C stops the
    run, waits until what is paid for is kept, and raises KeyboardInterrupt.
    """
    line = ProgressLine() if progress else None

    def tell(message: Message) -> None:
        if message.get("message_type") != "status":
            return
        now = from_message(Progress, message)
        if line is not None:
            line.show(now)
        if on_progress is not None:
            on_progress(now)

    wanted = on_progress is not None or progress
    words = ["run", *words_of(job_file, flags), "--json", *(["--progress", "json"] if wanted else [])]
    try:
        outcome = call(words, on_message=tell if wanted else None, env=env, keep=_is_summary)
    finally:
        if line is not None:
            line.close()
    result = _summary_of(outcome.last("summary"))
    check(outcome, result, good=(0, 3))
    assert result is not None
    return result


def _is_summary(message: Message) -> bool:
    return message.get("message_type") == "summary"


def _summary_of(message: Message | None) -> RunSummary | None:
    if message is None:
        return None
    targets = [from_message(TargetState, target) for target in message.get("targets", [])]
    return from_message(RunSummary, message, targets=targets)


def verify(
    job: str | os.PathLike[str],
    *,
    sample: int = 0,
    repair: bool = False,
    env: Mapping[str, str] | None = None,
    **flags: Any,
) -> Verification:
    """Compares every target of a job with the job and its source. Raises MismatchError where they differ."""
    words = ["verify", os.fspath(job), "--json"]
    if sample:
        words += ["--sample", str(sample)]
    if repair:
        words += ["--repair", "--yes"]
    outcome = call([*words, *words_of(None, flags)], env=env)
    summary = outcome.last("summary")
    result = None
    if summary is not None:
        problems = [str(m.get("message", "")) for m in outcome.all("problem")]
        result = from_message(
            Verification, summary, problems=problems, problem_count=int(summary.get("problems", len(problems)))
        )
        if not outcome.error and problems:
            outcome.error = problems[0] if len(problems) == 1 else f"{problems[0]} (and {result.problem_count - 1} more)"
    check(outcome, result)
    assert result is not None
    return result


def status(job: str | os.PathLike[str], *, rejects: int = 10) -> Status:
    """What a job holds, why rows were rejected, and a receipt for each run."""
    outcome = call(["status", os.fspath(job), "--rejects", str(rejects), "--json"])
    check(outcome, None)
    summary = outcome.last("summary")
    assert summary is not None
    return from_message(
        Status,
        summary,
        targets=[from_message(TargetState, m) for m in outcome.all("target")],
        rejects=[from_message(Reject, m) for m in outcome.all("reject")],
        receipts=[receipt_of(m) for m in outcome.all("receipt")],
    )


def rollback(job: str | os.PathLike[str], *, env: Mapping[str, str] | None = None) -> Rollback:
    """Puts back what a job has overwritten, byte for byte. The job must be named: this is the consent. Rows that
    somebody changed since stay as they are and are named in `left`."""
    outcome = call(["rollback", os.fspath(job), "--yes", "--json"], env=env)
    summary = outcome.last("summary")
    result = None if summary is None else from_message(Rollback, summary, left=outcome.all("left"))
    check(outcome, result, good=(0, 3))
    assert result is not None
    return result
