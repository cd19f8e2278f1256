#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to be watched: runs from a server that answers at once, in turn without anything, and with a page that is
looked at, metrics that are scraped every second, and a metrics file. Prints rows a second and processor time of each pair.

usage: bench/live_cost.py build/dev/reembed [PAIRS] [ROWS] [OTHER]
OTHER: another build for the runs without anything, such as one from before; default: the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

COMMAND = str(Path(sys.argv[1]).resolve())
PAIRS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
ROWS = int(sys.argv[3]) if len(sys.argv) > 3 else 300_000
OTHER = str(Path(sys.argv[4]).resolve()) if len(sys.argv) > 4 else COMMAND


def watch(job: Path, metrics: str, done: threading.Event) -> list[int]:
    """Reads the page's events, and scrapes once a second; the bytes of both."""
    seen = [0, 0]

    def events() -> None:
        while not done.is_set():
            answer = subprocess.run([COMMAND, "ctl", job, "dashboard"], capture_output=True, text=True).stdout.strip()
            if not answer:
                done.wait(0.05)
                continue
            try:
                with urllib.request.urlopen(answer.replace("/?", "/events?")) as stream:
                    for line in stream:
                        seen[0] += len(line)
            except OSError:
                pass
            return

    def scrape() -> None:
        while not done.wait(1):
            try:
                with urllib.request.urlopen(metrics) as reply:
                    seen[1] += len(reply.read())
            except OSError:
                pass

    for part in (events, scrape):
        threading.Thread(target=part, daemon=True).start()
    return seen


def run(folder: Path, url: str, number: int, watched: bool) -> tuple[float, float]:
    """Rows a second, and microseconds of the processor a row."""
    job = folder / f"job{number}"
    words = [COMMAND if watched else OTHER, "run", "--source", f"jsonl:{folder}/rows.jsonl?key=id&text=text", "--target",
             f"fbin:{folder}/{number}.fbin", "--api-base", url, "--model", "m", "--dimensions", "256", "--batch-size", "256",
             "--concurrency", "8", "--job", str(job), "--json", "--quiet"]
    done = threading.Event()
    if watched:
        port = 20_000 + os.getpid() % 20_000 + number
        words += ["--dashboard", "on", "--metrics", str(port), "--metrics-file", str(folder / "m.prom")]
        seen = watch(job, f"http://127.0.0.1:{port}/metrics", done)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    assert status == 0, out
    if watched:
        assert min(seen) > 0, "nobody has looked"
    summary = json.loads(out.splitlines()[-1])
    for file in folder.glob(f"{number}.fbin*"):
        file.unlink()
    return summary["rows_per_second"], 1e6 * (usage.ru_utime + usage.ru_stime) / ROWS


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open(folder / "rows.jsonl", "w") as rows:
            for i in range(ROWS):
                rows.write(f'{{"id":{i},"text":"this is the text of row number {i}, which is like others"}}\n')
        server = subprocess.Popen([COMMAND, "serve", "--prepared", "--port", "0", "--dim", "256"], stdout=subprocess.PIPE,
                                  text=True)
        assert server.stdout is not None
        url = server.stdout.readline().split()[2]
        rates, costs = [], []
        for pair in range(PAIRS):
            order = (False, True) if pair % 2 == 0 else (True, False)
            found = {watched: run(folder, url, 2 * pair + watched, watched) for watched in order}
            rates.append(found[True][0] / found[False][0])
            costs.append(found[True][1] / found[False][1])
            print(f"pair {pair + 1}: {found[False][0]:,.0f} rows/s alone, {found[True][0]:,.0f} watched, ratio {rates[-1]:.3f}; "
                  f"{found[False][1]:.2f} us a row, {found[True][1]:.2f} watched, ratio {costs[-1]:.3f}", flush=True)
        server.kill()
        server.wait()
        print(f"median ratio of rows/s {statistics.median(rates):.3f}, of processor time {statistics.median(costs):.3f}")


main()
