#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two builds beside each other: ingest, writing to each store, memory and processor time of whole runs, in turns.

BEFORE and AFTER are build directories (cmake -B) of two versions, with the same preset. Each measure is taken of both in each
round, and which comes first alternates; single runs differ by a third, so the median of the ratios counts. A ratio above 1
says that AFTER is better, whether more or less of it is wanted. The last line names what is worse by more than 5 %. One build
twice shows what chance does.

usage: bench/compare_builds.py BEFORE AFTER [--rounds 7] [--only ingest,stores,runs] [--stores sqlite,file_sink,...]
       [--rows 400000] [--min-time 3]

`stores` needs what the benches need: PostgreSQL, and in both build directories npm/ and in their sources build/valkey.
"""
import argparse
import json
import os
import pathlib
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile

# What of each bench is compared: rows a second of our own way, which its counter `reembed` has, or else 1 / its time.
STORES = {
    "sqlite": "FirstFill|Update|ScanSource",
    "postgres": "Load|Update|BM_PostgresScan",
    "libsql": "Sink",
    "falkordb": "Sink",
    "qdrant": "Sink",
    "file_sink": "FileSink|SourceRead",
    "hdf5": "Hdf5",
    "ledger": "Persist|Keep|Enrol",
}
# What was called otherwise in some version.
RENAMED = {"BM_LedgerKeep": "BM_LedgerPersist"}
LIMIT = 0.95


def ingest(build, arguments):
    """{name: (value, is_more_better)}; without the bare loop, which is the same in both."""
    found = {}
    for concurrency in (8, 16):
        out = output([build / "bench/end_to_end", "--no-store", "--no-limit", "--repetitions", "1", "--rows", arguments.rows,
                      "--concurrency", concurrency])
        rate, cost = re.search(r"pipeline +(\d+) rows/s, +([\d.]+) us", out).groups()
        found[f"ingest, {concurrency} at a time: rows/s"] = float(rate), True
        found[f"ingest, {concurrency} at a time: us of processor a row"] = float(cost), False
    return found


def stores(build, arguments):
    found = {}
    for name in arguments.stores.split(","):
        program = build / f"bench/{name}_bench"
        if not program.exists():
            continue
        out = output([program, f"--benchmark_filter={STORES[name]}", f"--benchmark_min_time={arguments.min_time}",
                      "--benchmark_format=json"])
        for one in json.loads(out)["benchmarks"]:
            if "error_occurred" not in one:
                title, *rest = one["name"].split("/")
                title = "/".join([RENAMED.get(title, title), *rest])
                found[f"{name}: {title}"] = one.get("reembed") or 1 / one["real_time"], True
    return found


def runs(build, arguments):
    """Whole processes: JSON lines to a file of vectors, and a table of SQLite in place."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with open(folder / "rows.jsonl", "w") as rows:
            for i in range(arguments.rows):
                rows.write(f'{{"id":{i},"text":"this is the text of row number {i}, which is like others"}}\n')
        with sqlite3.connect(folder / "rows.db") as db:
            db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, v BLOB)")
            db.executemany("INSERT INTO notes VALUES (?, ?, NULL)", ((i, f"text of row {i}") for i in range(arguments.rows)))
        # One server for both versions: it is the limit's.
        server = subprocess.Popen([str(arguments.after / "reembed"), "serve", "--prepared", "--port", "0", "--dim", "64"],
                                  stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().split()[2]
            for title, place in (("JSON lines to fbin", ["--source", f"jsonl:{folder}/rows.jsonl?key=id&text=text", "--target",
                                                         f"fbin:{folder}/out.fbin"]),
                                 ("SQLite in place", ["--source", f"sqlite:{folder}/rows.db?table=notes&text=body&vector=v"])):
                words = [build / "reembed", "run", *place, "--api-base", url, "--model", "m", "--dimensions", "64",
                         "--job", folder / title.split()[0], "--json", "--quiet", "--yes"]
                summary, usage = waited(words, folder)
                found[f"{title}: rows/s"] = summary["rows_per_second"], True
                found[f"{title}: us of processor a row"] = 1e6 * (usage.ru_utime + usage.ru_stime) / arguments.rows, False
                found[f"{title}: peak memory, MB"] = usage.ru_maxrss / 1000, False
        finally:
            server.kill()
            server.wait()
    return found


def output(words):
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, cwd=pathlib.Path(words[0]).parent, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def waited(words, home):
    """The summary of a run, and what the process took."""
    environment = dict(os.environ, HOME=str(home), XDG_STATE_HOME=str(home), OPENAI_API_KEY="")
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=environment)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{words[0]} run ended with {process.returncode}: {out}")
    return json.loads(out.splitlines()[-1]), usage


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="ingest,stores,runs")
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--min-time", type=float, default=3)
    arguments = parser.parse_args()
    arguments.before, arguments.after = arguments.before.resolve(), arguments.after.resolve()
    ratios, values = {}, {}
    for round_ in range(arguments.rounds):
        for measure in [{"ingest": ingest, "stores": stores, "runs": runs}[name] for name in arguments.only.split(",")]:
            builds = [arguments.before, arguments.after]
            found = {side: measure(builds[side], arguments) for side in ((0, 1) if round_ % 2 == 0 else (1, 0))}
            before, after = found[0], found[1]
            for name in before.keys() & after.keys():
                old, more_is_better = before[name]
                new = after[name][0]
                ratios.setdefault(name, []).append(new / old if more_is_better else old / new)
                values.setdefault(name, []).append((old, new))
            print(f"round {round_ + 1}, {measure.__name__}: load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    worse = []
    for name in sorted(ratios):
        middle = statistics.median(ratios[name])
        old, new = (statistics.median(side) for side in zip(*values[name]))
        print(f"{name}: {middle:.3f} ({min(ratios[name]):.2f} to {max(ratios[name]):.2f}), before {old:,.5g}, after {new:,.5g}")
        if middle < LIMIT:
            worse.append(name)
    print(f"worse by more than {100 * (1 - LIMIT):.0f} %: " + ("; ".join(worse) or "nothing"))


if __name__ == "__main__":
    main()
