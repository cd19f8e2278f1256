# SPDX-License-Identifier: Apache-2.0
"""Reads a job directory, as io/job/ledger_format.md describes it. Changes nothing, and may read while a run writes.

numpy, pandas and pyarrow are imported where they are used: the command goes through this package and needs none."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._errors import UsageError
from ._results import Receipt, Reject

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow
    from numpy.typing import NDArray

_APPLICATION = 0x524D4244
_NEWEST_FORMAT = 2
# The gRPC status numbers, as far as rejects have them, in the words of `reembed status`.
_NOT_FOUND, _INVALID, _OUT_OF_RANGE, _DATA_LOSS = 5, 3, 11, 15


def _word(code: int, by_target: bool) -> str:
    if code == _NOT_FOUND:
        return "row is gone"
    if by_target:
        return "refused by the target"
    if code in (_INVALID, _OUT_OF_RANGE):
        return "unusable text"
    return "unusable vector" if code == _DATA_LOSS else "refused by the API"


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def open_job(job: str | os.PathLike[str], *, stream: str | None = None) -> Job:
    """Opens a job directory to read it. `stream`: which of the streams of a memory system, where it has several."""
    path = Path(job).expanduser()
    if stream is not None:
        path = path / stream
    if not (path / "ledger.db").exists():
        streams = sorted(entry.parent.name for entry in path.glob("*/ledger.db"))
        if len(streams) == 1:
            path = path / streams[0]
        elif streams:
            raise UsageError(f"{path}: has several streams: {', '.join(streams)}; name one with stream=")
        else:
            raise UsageError(f"{path}: holds no job; `reembed status` lists them")
    return Job(path)


class Job:
    """A job directory. Rows are in the order in which the job met them.

    `keys[i]` is the key of row i, `slots[i]` the row of `vectors` that has its vector, or -1 if it has none. Rows with
    the same text share a slot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._connect(path / "ledger.db")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (self.format,) = self._db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise UsageError(f"{path}: ledger.db is not a ledger of reembed")
        if self.format > _NEWEST_FORMAT:
            raise UsageError(
                f"{path}: has format {self.format}, and this version knows {_NEWEST_FORMAT}; a newer one reads it"
            )
        self.meta: dict[str, str] = {name: str(value) for name, value in self._db.execute("SELECT key, value FROM meta")}

    @staticmethod
    def _connect(ledger: Path) -> sqlite3.Connection:
        uri = ledger.resolve().as_uri()
        try:
            db = sqlite3.connect(f"{uri}?mode=ro", uri=True)
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return db
        except sqlite3.OperationalError:
            # A folder that may not be written to has no place for the memory that readers share. Without a -wal there
            # is nothing that they would have to know of each other.
            wal = Path(f"{ledger}-wal")
            if wal.exists() and wal.stat().st_size > 0:
                raise
            return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<reembed job {self.path}: {len(self)} rows, {self.model}, {self.dimensions} dimensions>"

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def model(self) -> str:
        return self.meta.get("model", "")

    @property
    def dimensions(self) -> int:
        return int(self.meta.get("dim", 0))

    @cached_property
    def vectors(self) -> NDArray[numpy.float32]:
        """Memory-mapped [slots, dimensions] float32, read-only, as the API sent them. Rows that no slot names mean
        nothing."""
        import numpy

        path = self.path / "vectors.f32"
        if not path.exists():
            raise UsageError(f"{self.path}: keeps no vectors (--keep-vectors never); read them from its targets")
        dim = self.dimensions
        whole = path.stat().st_size // (4 * dim)  # after a crash the last one may be torn
        if whole == 0:
            return numpy.empty((0, dim), numpy.float32)
        return numpy.memmap(path, "<f4", "r", shape=(whole, dim))

    @cached_property
    def _rows(self) -> tuple[list[Any], NDArray[numpy.int64]]:
        import numpy

        rows = self._db.execute("SELECT key, slot FROM rows ORDER BY ordinal").fetchall()
        slots = numpy.fromiter((slot for _, slot in rows), numpy.int64, len(rows))
        kept = numpy.array(
            self._db.execute("SELECT slot_begin, slot_end FROM kept ORDER BY slot_begin").fetchall(), numpy.int64
        ).reshape(-1, 2)
        # Ranges do not overlap: the last one that begins at or before a slot is the only one that may have it.
        at = numpy.searchsorted(kept[:, 0], slots, side="right") - 1
        has = (at >= 0) & (slots >= 0)
        has[has] = slots[has] < kept[at[has], 1]
        slots[~has] = -1
        return [key for key, _ in rows], slots

    @property
    def keys(self) -> list[Any]:
        """The key of each row, an int or a str, as its source has it."""
        return self._rows[0]

    @property
    def slots(self) -> NDArray[numpy.int64]:
        """[rows]: where in `vectors` each row's vector is; -1: it has none."""
        return self._rows[1]

    def matrix(self) -> tuple[list[Any], NDArray[numpy.float32]]:
        """Keys and vectors [rows with a vector, dimensions] of all rows that have one; a copy in memory."""
        import numpy

        has = numpy.flatnonzero(self.slots >= 0)
        return [self.keys[i] for i in has], numpy.asarray(self.vectors[self.slots[has]])

    def __iter__(self) -> Iterator[tuple[Any, NDArray[numpy.float32]]]:
        """Key and vector of each row that has one."""
        for key, slot in zip(self.keys, self.slots):
            if slot >= 0:
                yield key, self.vectors[slot]

    @cached_property
    def rejects(self) -> list[Reject]:
        """Rows without a vector, with the reason; with `target` those that one target refused."""
        found = self._db.execute("SELECT key, sink, code, reason FROM rejects JOIN rows USING (ordinal) ORDER BY ordinal")
        return [Reject(key, reason, _word(code, bool(sink)), sink) for key, sink, code, reason in found]

    @cached_property
    def receipts(self) -> list[Receipt]:
        """What each run bought."""
        db = self._db
        db.row_factory = sqlite3.Row
        try:
            rows = [dict(row) for row in db.execute("SELECT * FROM receipts ORDER BY run")]
            details = {}
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'receipt_details'").fetchone() is not None:
                details = {row["run"]: dict(row) for row in db.execute("SELECT * FROM receipt_details")}
        finally:
            db.row_factory = None
        receipts = []
        for row in rows:
            more = details.get(row["run"], {})
            raw = {**row, "endpoints": json.loads(more.get("endpoints") or "[]")}
            known = {name: row[name] for name in _RECEIPT_NUMBERS if row.get(name) is not None}
            receipts.append(
                Receipt(
                    started=_time(row.get("started")),
                    ended=_time(row.get("ended")),
                    switched=_time(more.get("switched")),
                    raw=raw,
                    **known,
                )
            )
        return receipts

    def to_pandas(self) -> pandas.DataFrame:
        """A table with `key` and `embedding` of the rows that have a vector. Wants pandas."""
        import pandas

        keys, vectors = self.matrix()
        table: pandas.DataFrame = pandas.DataFrame({"key": keys, "embedding": list(vectors)})
        return table

    def to_arrow(self) -> pyarrow.Table:
        """The same as an Arrow table, `embedding` as a list of fixed size. Wants pyarrow."""
        import pyarrow

        keys, vectors = self.matrix()
        flat = pyarrow.array(vectors.reshape(-1), pyarrow.float32())
        embedding = pyarrow.FixedSizeListArray.from_arrays(flat, self.dimensions)
        return pyarrow.table({"key": pyarrow.array(keys), "embedding": embedding})


_RECEIPT_NUMBERS = (
    "run",
    "outcome",
    "rows_embedded",
    "rows_rejected",
    "requests",
    "requests_retried",
    "http_429",
    "tokens",
    "cost_usd",
)
