# SPDX-License-Identifier: Apache-2.0
"""Builds indexes that are killed (SIGKILL) at moments drawn by lot and gone on with by the same command, and compares
what comes out with a build that nobody has killed: the same bytes, or, where a graph goes on from a checkpoint, as much
recall. After each kill the index that was there before must still be whole, at its path or as PATH.previous.

usage: index_kills.py REEMBED FOLDER [KILLS [ROWS [DIM [SEED [KIND]]]]]     e.g. ... 100 200000 32 1; KIND: "graph"

Each build is killed one to four times before it may end. Needs python3-numpy.
"""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

REEMBED, FOLDER = (os.path.abspath(path) for path in sys.argv[1:3])
KILLS, ROWS, DIM, SEED = map(int, (sys.argv[3:7] + ["100", "200000", "32", "1"][len(sys.argv[:7]) - 3:]))
ONLY = sys.argv[7] if len(sys.argv) > 7 else ""
MOST_LOST_RECALL = 0.005

# Name, flags, whether the bytes must be the same.
KINDS = [("lists", ["--factory", "IVF64,Flat"], True),
         ("lists in parts", ["--factory", "IVF64,Flat", "--build-memory", "least"], True),
         ("codes in shards", ["--factory", "IVF64,PQ8x4fs", "--build-memory", "least"], True),
         ("graph in shards", ["--factory", "HNSW16", "--deterministic", "--build-memory", "least"], True),
         ("graph", ["--factory", "HNSW16"], False)]


def path(name):
    return os.path.join(FOLDER, name)


def write_rows(name, seed):
    numbers = np.random.default_rng(seed)
    rows = numbers.normal(size=(200, DIM)).astype("float32")[numbers.integers(200, size=ROWS)]
    rows += 0.5 * numbers.standard_normal((ROWS, DIM), dtype="float32")
    with open(path(name), "wb") as file:
        file.write(np.array([ROWS, DIM], "<u4").tobytes() + rows.tobytes())


def command(index, source, flags):
    return [REEMBED, "index", "build", path(source), "-o", path(index), "--keep-every", "0", "--json", "--quiet", *flags]


def run(words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{words}: ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def least_memory(flags):
    """The smallest that the refusal names, and a little more: several parts, and room for what is rounded."""
    refused = subprocess.run(command("refused", "rows.fbin", [*flags, "--build-memory", "1MiB"]), capture_output=True, text=True)
    mib = int(refused.stderr.rsplit(" MiB", 1)[0].rsplit(" ", 1)[1])
    return [*flags, "--build-memory", f"{mib + 1}MiB"]


def files(index):
    return {name.replace(index, "*") for name in os.listdir(FOLDER) if name.startswith(index)}


def content(index):
    """Of an index and of its shards, without names: those are the index's own."""
    whole = hashlib.sha256()
    for name in sorted(os.listdir(FOLDER)):
        if name == index or name.startswith(f"{index}.shard-"):
            with open(path(name), "rb") as file:
                content = file.read()
            whole.update(content.replace(index.encode(), b"*") if content[:1] == b"{" else content)
    return whole.hexdigest()


def recall(index):
    done = subprocess.run([REEMBED, "index", "eval", path(index), "--queries", "500", "--ef-search", "64", "--json", "--quiet"],
                          capture_output=True, text=True, check=True)
    return next(line["recall_at_10"] for line in map(json.loads, done.stdout.splitlines()) if "recall_at_10" in line)


def is_whole(index):
    return subprocess.run([REEMBED, "index", "info", path(index), "--check"], capture_output=True).returncode == 0


def clear(index):
    for name in os.listdir(FOLDER):
        if name.startswith(index):
            os.remove(path(name))


def kill_one(words, seconds):
    """Whether it was still at work when it was killed."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode == -signal.SIGKILL


def main():
    os.makedirs(FOLDER, exist_ok=True)
    lot = random.Random(SEED)
    write_rows("rows.fbin", SEED)
    write_rows("old.fbin", SEED + 1)
    total, builds, resumed, lost = 0, 0, 0, []
    kinds = [kind for kind in KINDS if ONLY in ("", kind[0])]
    for number, (name, flags, is_same) in enumerate(kinds):
        if "least" in flags:
            flags = least_memory(flags[:-2])
        begin = time.monotonic()
        clear("whole")
        run(command("whole", "rows.fbin", flags))
        took = time.monotonic() - begin
        wanted, kills = content("whole"), 0
        usual = 0 if is_same else recall("whole")
        share = KILLS * (number + 1) // len(kinds) - KILLS * number // len(kinds)
        while kills < share:
            clear("killed")
            run(command("killed", "old.fbin", ["--factory", "Flat"]))
            for _ in range(lot.randint(1, min(4, share - kills))):
                if not kill_one(command("killed", "rows.fbin", flags), lot.uniform(0, took)):
                    break  # it was faster than the first
                kills += 1
                if not is_whole("killed") and not is_whole("killed.previous"):
                    sys.exit(f"{name}: after kill {kills} neither the old index nor the new one is whole")
            done = run(command("killed", "rows.fbin", flags))
            builds += 1
            resumed += done["rows_resumed"] > 0
            if is_same and content("killed") != wanted:
                sys.exit(f"{name}: after kill {kills} another index came out")
            if not is_same:
                lost.append(usual - recall("killed"))
                if lost[-1] > MOST_LOST_RECALL:
                    sys.exit(f"{name}: after kill {kills} recall is less by {lost[-1]:.4f}")
            left = {file for file in files("killed") if "partial" in file}
            if left:
                sys.exit(f"{name}: after kill {kills} there is still {left}")
        total += kills
        print(f"{name} ({' '.join(flags)}): {kills} kills, {'the same bytes' if is_same else 'as much recall'}; a build takes "
              f"{took:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{total} kills of {builds} builds of {ROWS:,} x {DIM}, seed {SEED}; {resumed} builds went on with rows of one before; "
          f"recall less by at most {max(lost, default=0):.4f}")


main()
