# SPDX-License-Identifier: Apache-2.0
"""What it costs to build an index while its vectors arrive: a run into a FAISS index against the slower of a run into a
file alone and `index build` of that file alone, in turns. The API is `reembed serve` with a latency, in a process of its
own.

usage: index_overlap.py REEMBED FOLDER [ROWS [DIM [ROUNDS [LATENCY_MS [FACTORY]]]]]     e.g. ... 40000 384 3 250 HNSW32
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

REEMBED, FOLDER = (os.path.abspath(path) for path in sys.argv[1:3])
ROWS, DIM, ROUNDS, LATENCY, FACTORY = (sys.argv[3:] + ["40000", "384", "3", "250", "HNSW32"][len(sys.argv) - 3 :])[:5]


def timed(*args):
    begin = time.monotonic()
    done = subprocess.run([REEMBED, *args], capture_output=True, text=True)
    assert done.returncode == 0, (args, done.returncode, done.stderr[-500:])
    return time.monotonic() - begin


def run(base, target, job):
    # Few requests at a time, so that the latency is what a run waits for.
    return timed("run", "--source", "jsonl:rows.jsonl", "--target", target, "--api-base", base, "--embedder", "openai",
                 "--model", "builtin", "--dimensions", DIM, "--concurrency", "4", "--batch-size", "64", "--job", job, "--quiet",
                 "--yes")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    os.chdir(FOLDER)
    words = [f"{a}{b}" for a in ("ba", "lo", "mi", "ter", "san", "pol") for b in ("ra", "ne", "dok", "vu", "shi")]
    with open("rows.jsonl", "w") as file:
        for i in range(int(ROWS)):
            text = " ".join(words[(i * k * k + k) % len(words)] for k in range(3, 15)) + f" {i}"
            file.write(json.dumps({"id": i, "text": text}) + "\n")
    server = subprocess.Popen([REEMBED, "serve", "--port", "0", "--dim", DIM, "--latency-ms", LATENCY], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        line = server.stdout.readline()
        base = next(word.rstrip(",;.") for word in line.split() if word.startswith("http"))
        rounds = []
        for turn in range(int(ROUNDS)):
            for name in os.listdir("."):
                if name not in ("rows.jsonl",):
                    shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
            together = run(base, f"faiss:both.faiss?factory={FACTORY}", "job-both") if turn % 2 else None
            alone = run(base, "npy:rows.npy", "job-alone")
            build = timed("index", "build", "rows.npy", "-o", "alone.faiss", "--factory", FACTORY, "--quiet")
            together = together or run(base, f"faiss:both.faiss?factory={FACTORY}", "job-both")
            rounds.append((alone, build, together))
            print(f"run alone {alone:.1f} s, build alone {build:.1f} s, together {together:.1f} s: "
                  f"{together / max(alone, build):.3f} of the slower, load {os.getloadavg()[0]:.1f}", flush=True)
        ratio = statistics.median(together / max(alone, build) for alone, build, together in rounds)
        print(f"{ROWS} rows of {DIM}, {FACTORY}, latency {LATENCY} ms: median {ratio:.3f} of the slower of the two")
    finally:
        server.terminate()
        server.wait()


main()
