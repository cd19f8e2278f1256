# SPDX-License-Identifier: Apache-2.0
"""reembed gives every row of a store a new embedding.

    import reembed

    plan = reembed.plan(system="agentloop", db="memory.db", embedder="builtin")
    done = reembed.run(system="agentloop", db="memory.db", embedder="builtin", target="faiss:messages.faiss",
                       progress=True)
    for hit in reembed.Embeddings("messages.faiss").search("trip to Lisbon"):
        print(hit.score, hit.text)
    job = reembed.open(done.job)
    job.vectors          # a memory-mapped numpy array

Every call runs the command `reembed` and reads its JSON: what the command promises, the call promises. Keyword
arguments are the command's flags (`--batch-size 64` is `batch_size=64`). Keys of APIs are never arguments: they come
from the environment, from `api_key_env` or `api_key_file`.
"""

from typing import Any

from ._command import command_path
from ._errors import (
    FailedError,
    FatalError,
    InterruptedRun,
    LockedError,
    MismatchError,
    QualityGateError,
    ReembedError,
    SpendCapError,
    TemporaryError,
    TimeLimitError,
    UsageError,
)
from ._api import plan, rollback, run, status, verify
from ._embeddings import Embeddings
from ._job import Job
from ._job import open_job as open  # noqa: A001
from ._results import (
    Hit,
    Plan,
    Progress,
    Receipt,
    Reject,
    Rollback,
    RunSummary,
    Status,
    TargetState,
    Verification,
)

__version__: str


def __getattr__(name: str) -> Any:
    # Asked of the command, and only when somebody wants to know: this module is also on the way of `reembed` itself.
    if name == "__version__":
        from ._command import version

        return version()
    raise AttributeError(f"module 'reembed' has no attribute {name!r}")


__all__ = [
    "Embeddings",
    "FailedError",
    "FatalError",
    "Hit",
    "InterruptedRun",
    "Job",
    "LockedError",
    "MismatchError",
    "Plan",
    "Progress",
    "QualityGateError",
    "Receipt",
    "ReembedError",
    "Reject",
    "Rollback",
    "RunSummary",
    "SpendCapError",
    "Status",
    "TargetState",
    "TemporaryError",
    "TimeLimitError",
    "UsageError",
    "Verification",
    "command_path",
    "open",
    "plan",
    "rollback",
    "run",
    "status",
    "verify",
]
