#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it is worth to send the longest texts of a request first, to a server that works in slices and pads.

The server, a process of its own, does one slice of at most SLICE texts of a request after another, and one request after
another, as a GPU does; a slice takes as long as if all its texts had the tokens of its longest. It only waits that long. Lengths are
log-normal (median 150 tokens, sigma 1), four bytes a token. `infinity` is an API that people run, so its texts are sorted;
`openai` has the same form and is not sorted. For each: seconds of the whole process, processor time a row, and tokens computed
over tokens asked for, which no noise touches. `--before OTHER` measures another build in turn.

usage: bench/padding.py REEMBED [--before OTHER] [--rounds 3] [--rows 20000] [--batch 256] [--concurrency 8] [--us-per-token 0.2]
       [--cases 32,0,32:64,0:64]      SLICE[:MOST]; SLICE 0: the whole request is one; more than MOST texts are refused with a 413
"""
import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

import waiting_api

DIM = 64
APIS = ("openai", "infinity")
BYTES_PER_TOKEN = 4


def serve(port_of, counts_to, slice_texts, most, seconds_per_token):
    """Answers until it is ended; puts (tokens asked for, computed, requests, refused) into `counts_to` when it is to look."""
    counts = [0, 0, 0, 0]
    free_at = 0.0

    async def answer(request):
        nonlocal free_at
        tokens = [-(-len(text) // BYTES_PER_TOKEN) for text in json.loads(request)["input"]]
        if most and len(tokens) > most:
            counts[3] += 1
            return 413, b'{"error":{"message":"too large"}}', None
        step = slice_texts or len(tokens)
        padded = sum(max(some) * len(some) for some in (tokens[i:i + step] for i in range(0, len(tokens), step)))
        counts[0] += sum(tokens)
        counts[1] += padded
        counts[2] += 1
        free_at = max(free_at, time.monotonic()) + padded * seconds_per_token
        await asyncio.sleep(free_at - time.monotonic())
        return 200, waiting_api.reply_of(len(tokens), DIM), None

    waiting_api.serve(port_of, answer, lambda: counts_to.put(tuple(counts)))


def run(command, api, port, folder, arguments):
    """Seconds of the whole process, and microseconds of processor a row."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        words = [command, "run", "--source", f"jsonl:{folder}/rows.jsonl?key=id&text=text", "--target", f"fbin:{home}/out.fbin",
                 "--embedder", api, "--api-base", f"http://127.0.0.1:{port}", "--model", "m", "--dimensions", str(DIM),
                 "--batch-size", str(arguments.batch), "--concurrency", str(arguments.concurrency), "--job", f"{home}/job", "--quiet",
                 "--yes"]
        environment = dict(os.environ, HOME=home, XDG_STATE_HOME=home, OPENAI_API_KEY="")
        begin = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{command} ended with {process.returncode}: {out}")
        return seconds, 1e6 * (usage.ru_utime + usage.ru_stime) / arguments.rows


def measure(builds, case, folder, arguments):
    """{(build, api): [(seconds, processor, padding, requests, refused), ...]}, one for each round, taken in turns."""
    slice_texts, most = (int(word) for word in f"{case}:0".split(":")[:2])
    found = {}
    for round_ in range(arguments.rounds):
        turns = [(build, api) for build in builds for api in APIS]
        for build, api in turns if round_ % 2 == 0 else reversed(turns):
            port_of, counts_to = multiprocessing.Queue(), multiprocessing.Queue()
            server = multiprocessing.Process(target=serve, daemon=True,
                                             args=(port_of, counts_to, slice_texts, most, arguments.us_per_token / 1e6))
            server.start()
            port = port_of.get()
            seconds, processor = run(builds[build], api, port, folder, arguments)
            asked, computed, requests, refused = waiting_api.look_at(port, counts_to)
            server.terminate()
            server.join()
            found.setdefault((build, api), []).append((seconds, processor, computed / asked, requests, refused))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reembed")
    parser.add_argument("--before")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--us-per-token", type=float, default=0.2)
    parser.add_argument("--cases", default="32,0,32:64,0:64")
    arguments = parser.parse_args()
    builds = ({"before": arguments.before} if arguments.before else {}) | {"now": arguments.reembed}
    draws = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/rows.jsonl", "w") as rows:
            for i in range(arguments.rows):
                tokens = min(8192, max(2, int(150 * draws.lognormvariate(0, 1))))
                rows.write(json.dumps({"id": i, "text": f"{i} ".ljust(BYTES_PER_TOKEN * tokens, "x")}) + "\n")
        for case in arguments.cases.split(","):
            print(f"slices of {case}", flush=True)
            found = measure(builds, case, folder, arguments)
            for (build, api), runs in found.items():
                seconds, processor, padding, requests, refused = (sorted(column) for column in zip(*runs))
                middle = statistics.median
                print(f"  {build:6} {api:8} {middle(seconds):6.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}), {middle(processor):5.1f} us "
                      f"of processor a row, {middle(padding):.3f} computed over asked ({padding[0]:.3f} to {padding[-1]:.3f}), "
                      f"{requests[0]} to {requests[-1]} requests, {refused[0]} to {refused[-1]} refused", flush=True)


if __name__ == "__main__":
    main()
