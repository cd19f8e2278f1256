#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a run takes of memory and of the processor as rows become more: JSON lines to fbin, rows of SQLite in place, and the
same commands again, which find nothing to do. Whole processes by wait4(2), vectors of 64 numbers from `reembed serve
--prepared`, all else by default. One line of JSON each; the sizes in turn, so that others on the machine disturb all alike.

usage: bench/row_growth.py REEMBED [--rows 1000000,4000000] [--rounds 1] [--folder DIR] [--other REEMBED]
--other: another build, measured in turn. DIR: where 600 bytes a row have room; default: a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
from pathlib import Path

DIM = 64


def text_of(row: int) -> str:
    return f"this is the text of row number {row}, and like others"


def make_sources(folder: Path, rows: int) -> None:
    with open(folder / f"{rows}.jsonl", "w") as out:
        for row in range(rows):
            out.write(f'{{"id":{row},"text":"{text_of(row)}"}}\n')
    database = sqlite3.connect(folder / f"{rows}.db")
    database.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, v BLOB)")
    database.executemany("INSERT INTO notes(id, body) VALUES(?, ?)", ((row, text_of(row)) for row in range(rows)))
    database.commit()
    database.close()


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Peak of resident memory in MB, and seconds of the processor."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True)
    assert process.stderr is not None
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    return usage.ru_maxrss / 1000, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=lambda path: Path(path).resolve())
    parser.add_argument("--other", type=lambda path: Path(path).resolve())
    parser.add_argument("--rows", default="1000000,4000000")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",")]
    builds = [build for build in (arguments.reembed, arguments.other) if build is not None]
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        environment = dict(os.environ, HOME=name, XDG_STATE_HOME=name, OPENAI_API_KEY="none")
        for rows in sizes:
            make_sources(folder, rows)
        server = subprocess.Popen([builds[0], "serve", "--prepared", "--port", "0", "--dim", str(DIM)],
                                  stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            for turn in range(arguments.rounds):
                for rows in sizes:
                    for build in builds if turn % 2 == 0 else reversed(builds):
                        work = folder / "work"
                        work.mkdir()
                        shutil.copy(folder / f"{rows}.db", work / "notes.db")
                        common = [str(build), "run", "--api-base", url, "--model", "m", "--dimensions", str(DIM), "--quiet",
                                  "--canary-interval", "off"]  # prepared vectors are those of no text
                        places = {
                            "to fbin": ["--source", f"jsonl:{folder}/{rows}.jsonl?key=id&text=text", "--target",
                                        f"fbin:{work}/out.fbin", "--job", f"{work}/fbin"],
                            "in place": ["--source", f"sqlite:{work}/notes.db?table=notes&key=id&text=body&vector=v",
                                         "--job", f"{work}/place"]}
                        for place, words in places.items():
                            for what in (place, f"again, {place}"):
                                memory, processor = measure(common + words, environment)
                                found.setdefault((what, str(build), rows), []).append((memory, 1e6 * processor / rows))
                                print(json.dumps({"what": what, "build": str(build), "rows": rows, "mb": round(memory, 1),
                                                  "us_a_row": round(1e6 * processor / rows, 2),
                                                  "load": round(os.getloadavg()[0], 1)}), flush=True)
                        shutil.rmtree(work)
        finally:
            server.terminate()
            server.wait()
    print("\nmedians: MB, us of the processor a row")
    for (what, build, rows), values in sorted(found.items()):
        print(f"{what:20} {rows:>10} {statistics.median(v[0] for v in values):8.1f} "
              f"{statistics.median(v[1] for v in values):6.2f}  {build}")


if __name__ == "__main__":
    main()
