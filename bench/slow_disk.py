#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs on a disk whose fsync takes 200 ms more, in turn with their limit: a loop that has as many texts at a time as a run
has in flight, appends their vectors to one file and makes it durable, then 32 bytes a row to another one, which it makes
durable, too. It asks nobody for vectors, writes no target, and needs no start.

usage: bench/slow_disk.py REEMBED HELD_CALLS [--pairs 5] [--rows 400000] [--milliseconds 200] [--at-once 16384]
HELD_CALLS: build/dev/tests/libreembed_held_calls.so
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DIM = 64
LEDGER_BYTES = 32  # a row: its number, its key, its text's hash


def bare_loop(folder: Path, rows: int, at_once: int) -> float:
    """Rows a second of the limit. Runs in a process of its own, with the slow disk."""
    vectors = os.open(folder / "vectors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    bytes_of = bytes(at_once * DIM * 4)
    begin, left = time.monotonic(), rows
    while left > 0:
        some = min(left, at_once)
        for fd, size in ((vectors, some * DIM * 4), (ledger, some * LEDGER_BYTES)):
            os.write(fd, bytes_of[:size])
            os.fdatasync(fd)
        left -= some
    return rows / (time.monotonic() - begin)


def run(arguments: argparse.Namespace, folder: Path, url: str, environment: dict[str, str], number: int) -> float:
    """Rows a second of a whole process, its start and its end included."""
    begin = time.monotonic()
    subprocess.run([arguments.reembed, "run", "--source", f"jsonl:{folder}/rows.jsonl?key=id&text=text", "--target",
                    f"fbin:{folder}/{number}.fbin", "--api-base", url, "--model", "m", "--dimensions", str(DIM), "--job",
                    f"{folder}/job{number}", "--json", "--quiet"], env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    assert os.path.getsize(folder / f"{number}.fbin") == 8 + arguments.rows * DIM * 4
    return arguments.rows / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=lambda path: Path(path).resolve())
    parser.add_argument("held_calls", type=lambda path: Path(path).resolve())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--milliseconds", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=16384)
    parser.add_argument("--limit-in", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.limit_in is not None:
        print(bare_loop(arguments.limit_in, arguments.rows, arguments.at_once))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slow = dict(os.environ, HOME=name, XDG_STATE_HOME=name, OPENAI_API_KEY="none", LD_PRELOAD=str(arguments.held_calls),
                    REEMBED_SLOW_SYNC=str(arguments.milliseconds))
        with open(folder / "rows.jsonl", "w") as rows:
            for i in range(arguments.rows):
                rows.write(f'{{"id":{i},"text":"this is the text of row number {i}, which is like others"}}\n')
        server = subprocess.Popen([arguments.reembed, "serve", "--prepared", "--port", "0", "--dim", str(DIM)],
                                  stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            ours, limits = [], []
            for pair in range(arguments.pairs):
                def limit() -> None:
                    limits.append(float(subprocess.run(
                        [sys.executable, __file__, *sys.argv[1:], "--limit-in", name], env=slow, check=True,
                        stdout=subprocess.PIPE, text=True).stdout))

                def reembed(number: int = pair) -> None:
                    ours.append(run(arguments, folder, url, slow, number))

                for one in (limit, reembed) if pair % 2 == 0 else (reembed, limit):
                    one()
                print(json.dumps({"pair": pair, "reembed": round(ours[-1]), "limit": round(limits[-1]),
                                  "ratio": round(ours[-1] / limits[-1], 3), "load": os.getloadavg()[0]}), flush=True)
            ratios = [a / b for a, b in zip(ours, limits)]
            print(f"median of {arguments.pairs} pairs: {statistics.median(ours):.0f} rows/s, limit "
                  f"{statistics.median(limits):.0f}, ratio {statistics.median(ratios):.2f}")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
