# SPDX-License-Identifier: Apache-2.0
"""What the command's JSON lines say, with names and types. `raw` has the whole line, also what is not named here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

Key = int | str if __import__("sys").version_info >= (3, 10) else Any  # of a row, as its store has it

_T = TypeVar("_T")

def from_message(kind: type[_T], message: Mapping[str, Any], **more: Any) -> _T:
    """Fills the fields of the dataclass that the line has; the others keep their defaults."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in message.items() if name in names and value is not None}
    if "raw" in names:
        known["raw"] = dict(message)
    return kind(**{**known, **more})

def time_of(text: str | None) -> datetime | None:
    if not text:
        return None
    whole, dot, rest = text.partition(".")
    if not dot:
        return datetime.fromisoformat(text)
    # Python 3.9 and 3.10 want three or six digits of a second.
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return datetime.fromisoformat(f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}")

@dataclass(frozen=True)
class TargetState:
    """How far a target is: `rows` of `of` are in it; `state` is "complete", or says what it lacks."""

    target: str = ""
    state: str = ""
    rows: int = 0
    of: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Progress:
    """Where a run is. `seconds_left` is None as long as nobody can tell."""

    rows_done: int = 0
    rows_rejected: int = 0
    rows_expected: int = 0
    requests: int = 0
    requests_retried: int = 0
    tokens: int = 0
    elapsed_seconds: float = 0.0
    rows_per_second: float = 0.0
    seconds_left: float | None = None
    quota_wait_seconds: float = 0.0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Plan:
    """What a run with the same arguments would do and cost. `cost_usd` is None where the price is not known."""

    rows_selected: int = 0
    rows_rejected: int = 0
    texts_unique: int = 0
    text_bytes: int = 0
    tokens: int = 0
    tokens_exact: bool = False
    requests: int = 0
    cost_usd: float | None = None
    seconds_at_limits: float | None = None
    memory_bytes: int = 0
    disk_bytes: int = 0
    undo_bytes: int = 0
    overwrites: list[dict[str, Any]] = field(default_factory=list)
    model: str = ""
    dimensions: int = 0
    job: str = ""
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class RunSummary:
    """What a run did. With `exit_code` 3 it is finished and some rows have no vector: `rejected_keys` begins to name
    them, and `reembed.open(summary.job).rejects` says why."""

    rows_selected: int = 0
    rows_embedded: int = 0
    rows_rejected: int = 0
    rows_gone: int = 0
    rows_skipped: int = 0
    rows_pending: int = 0
    rejected_keys: list[Any] = field(default_factory=list)
    texts_unique: int = 0
    texts_embedded: int = 0
    texts_possibly_rebought: int = 0
    requests: int = 0
    requests_retried: int = 0
    http_429: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    elapsed_seconds: float = 0.0
    rows_per_second: float = 0.0
    targets: list[TargetState] = field(default_factory=list)
    job: str = ""
    exit_code: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Verification:
    """What `verify` compared, and what it found."""

    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    vectors_read: int = 0
    vectors_compared: int = 0
    texts_compared: int = 0
    texts_damaged: int = 0
    job: str = ""
    exit_code: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Rollback:
    """What `rollback` put back. `left`: rows that somebody changed after the job; they stay as they are."""

    rows_restored: int = 0
    rows_unchanged: int = 0
    rows_gone: int = 0
    rows_left: int = 0
    left: list[dict[str, Any]] = field(default_factory=list)
    job: str = ""
    exit_code: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Reject:
    """A row without a vector, or one that `target` has refused (empty: no target has it)."""

    key: Any
    reason: str = ""
    code: str = ""
    target: str = ""
    attempts: int = 1  # runs that have tried it in vain

@dataclass(frozen=True)
class Receipt:
    """What one run bought."""

    run: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    outcome: str = ""
    rows_embedded: int = 0
    rows_rejected: int = 0
    requests: int = 0
    requests_retried: int = 0
    http_429: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    switched: datetime | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Status:
    """What a job holds."""

    job: str = ""
    source: str = ""
    selection: str = ""
    model: str = ""
    dimensions: int = 0
    rows_selected: int = 0
    rows_pending: int = 0
    rows_rejected: int = 0
    rows_gone: int = 0
    texts_unique: int = 0
    texts_kept: int = 0
    targets: list[TargetState] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

@dataclass(frozen=True)
class Hit:
    """A row that is near to a query. `text` is empty where its store is not there any more."""

    key: Any
    score: float = 0.0
    text: str = ""

def receipt_of(message: Mapping[str, Any]) -> Receipt:
    return from_message(
        Receipt,
        message,
        started=time_of(message.get("started")),
        ended=time_of(message.get("ended")),
        switched=time_of(message.get("switched")),
    )
