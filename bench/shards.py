#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What all shards of a job read together, beside what one machine reads: shards.py REEMBED [ROWS] [SHARDS].

Bytes are those of read() and pread() of the processes (/proc/self/io, rchar), of which the source is nearly all; vectors are
narrow and not kept. Rows are those that the ledgers have. Times are of all shards at once, beside one process."""

from __future__ import annotations

import json
import pathlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import time


def text_of(row: int) -> str:
    random.seed(row)
    return f"row {row} " + " ".join(random.choice(("stone", "water", "light", "letter", "garden")) for _ in range(40))


def make_sqlite(path: pathlib.Path, rows: int, key: str) -> str:
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE notes (id {key} PRIMARY KEY, body TEXT)")
        for row in range(rows):
            name = row * 3 if key == "INTEGER" else f"{row * 7919 % 999983:06d}"
            db.execute("INSERT INTO notes VALUES (?, ?)", (name, text_of(row)))
    return f"sqlite:{path}?table=notes&text=body"


def make_lines(path: pathlib.Path, rows: int) -> str:
    with path.open("w") as out:
        for row in range(rows):
            out.write(json.dumps({"id": row, "text": text_of(row)}) + "\n")
    return f"jsonl:{path}"


def make_hdf5(path: pathlib.Path, rows: int) -> str:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("texts", data=[text_of(row) for row in range(rows)], dtype=h5py.string_dtype())
    return f"hdf5:{path}"


def run(words: list[str]) -> int:
    """Bytes that the command has read."""
    shell = "\"$@\" > /dev/null 2>&1 || exit 1; grep rchar /proc/$$/io"
    done = subprocess.run(["bash", "-c", shell, "bash", *words], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    reembed = sys.argv[1]
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    shards = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        sources = {
            "SQLite, integers": make_sqlite(folder / "int.db", rows, "INTEGER"),
            "SQLite, texts": make_sqlite(folder / "text.db", rows, "TEXT"),
            "JSON lines": make_lines(folder / "rows.jsonl", rows),
            "HDF5": make_hdf5(folder / "rows.h5", rows),
        }
        for number, (title, source) in enumerate(sources.items()):
            command = [reembed, "run", "--yes", "--quiet", "--embedder", "builtin", "--dimensions", "32",
                       "--keep-vectors", "never", "--source", source]
            one_begun = time.monotonic()
            one = run([*command, "--target", f"fbin:{folder}/one{number}.fbin", "--job", f"{folder}/one{number}"])
            one_seconds = time.monotonic() - one_begun
            parent = folder / f"all{number}"
            read, largest, begun = 0, 0, time.monotonic()
            for shard in range(shards):
                read += run([*command, "--target", f"fbin:{folder}/all{number}.fbin", "--job", str(parent),
                             "--shard", f"{shard}/{shards}"])
            seconds = time.monotonic() - begun
            total = 0
            for ledger in parent.glob("shard-*/ledger.db"):
                with sqlite3.connect(ledger) as db:
                    count = db.execute("SELECT count(*) FROM rows").fetchone()[0]
                total += count
                largest = max(largest, count)
            print(f"{title}: rows {total / rows:.4f} of the source, largest share {largest * shards / rows:.3f} of an even one, "
                  f"bytes {read / one:.3f} of one machine's ({one >> 20} MiB), {one_seconds:.1f} s alone, "
                  f"{seconds:.1f} s one shard after the other", flush=True)


main()
