# SPDX-License-Identifier: Apache-2.0
"""The flags of `run` and `plan` as keyword arguments. Made by tools/python/write_flags from the command's own help."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Union

Path = Union[str, "os.PathLike[str]"]


class JobFlags(TypedDict, total=False):
    accept_rejects: bool
    agent: str
    all: bool
    api_base: str
    api_key_cmd: str
    api_key_env: str
    api_key_file: Path
    batch_size: int
    body_field: Union[str, Sequence[str]]
    ca_file: Path
    cache: str
    canary_interval: str
    concurrency: int
    cutoff: str
    dashboard: str
    db: Path
    db_password_env: str
    db_token_env: str
    dimensions: int
    embedder: str
    endpoint: Union[str, Sequence[str]]
    env_file: Path
    error_on_nothing: bool
    force_recreate: bool
    header: Union[str, Sequence[str]]
    header_env: Union[str, Sequence[str]]
    hedge: bool
    input_type: str
    job: Path
    keep_vectors: str
    limit: int
    long_text: str
    max_duration: str
    max_passes: int
    max_spend: Union[str, float]
    max_text: int
    max_tokens: int
    max_wait: float
    metrics: str
    metrics_file: Path
    mix: bool
    model: str
    no_changed: bool
    no_color: bool
    no_env_file: bool
    no_input: bool
    no_undo: bool
    normalize: str
    notify: str
    out: str
    output_dim: int
    output_type: str
    plan: str
    proxy: str
    quiet: bool
    quota: str
    recipe: str
    record: bool
    report: Union[str, Sequence[str]]
    resume_from: str
    rpm: float
    shard: str
    shards: int
    source: str
    stop_wait: float
    stream: Union[str, Sequence[str]]
    strict: bool
    system: str
    target: Union[str, Sequence[str]]
    timeout: float
    tokenizer: Path
    tpm: float
    truncate: bool
    updated_at: str
    user: str
    where: str
    yes: bool


NAMES = frozenset(JobFlags.__annotations__)


def words_of(job_file: Path | None, flags: Mapping[str, Any]) -> list[str]:
    """The words of a command line: batch_size=64 is --batch-size=64, a list is the flag several times, True a switch;
    None and False are not said."""
    words = [] if job_file is None else [os.fspath(job_file)]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)):
            words += [f"{flag}={_text(one)}" for one in value]
        else:
            words.append(f"{flag}={_text(value)}")
    return words


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
