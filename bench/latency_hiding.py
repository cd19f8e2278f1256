#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much of an API's latency a run hides, beside a plain pool of as many threads, and where the rest of its time goes.

A server in a process of its own answers each request after a time drawn evenly from LATENCY +- JITTER, with vectors prepared
before, and writes down when each came and left. What is hidden: requests x mean latency / requests at a time, by the seconds of
the whole process. The rest, in seconds of all places together: before the first request, the requests that come alone (the
probe, the check of the model), the ramp until all places are taken once, between, the end behind the last request's arrival,
and behind the last answer. `--before OTHER` measures another build in turn.

usage: bench/latency_hiding.py REEMBED [--before OTHER] [--rounds 3] [--concurrency 32] [--latency-ms 200] [--jitter-ms 100]
       [--seconds 25] [--batch 64] [--default]       --default: leave out --concurrency
"""
import argparse
import asyncio
import base64
import http.client
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import waiting_api

DIM = 64


def serve(port_of, log, latency, jitter, seed):
    """Answers until it is ended; puts (came, left, texts) of each request into `log` when it is to look."""
    draws = random.Random(seed)
    seen = []

    async def answer(request):
        came = time.monotonic()
        texts = len(json.loads(request)["input"])
        await asyncio.sleep(latency + jitter * (2 * draws.random() - 1))
        return 200, waiting_api.reply_of(texts, DIM), lambda: seen.append((came, time.monotonic(), texts))

    def look():
        log.put(list(seen))
        seen.clear()

    waiting_api.serve(port_of, answer, look)


def plain_pool(port, requests, threads, batch):
    """As many threads, each of which waits for its request; seconds."""
    body = json.dumps({"model": "m", "encoding_format": "base64", "input": [f"this is the text of row {i}" for i in range(batch)]})
    left = iter(range(requests))
    lock = threading.Lock()

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                if next(left, None) is None:
                    return
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            reply = json.loads(connection.getresponse().read())
            for item in reply["data"]:
                base64.b64decode(item["embedding"])

    begin = time.monotonic()
    pool = [threading.Thread(target=work) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return time.monotonic() - begin


def run(command, port, folder, name, arguments):
    """Begin and end of the whole process."""
    words = [command, "run", "--source", f"jsonl:{folder}/rows.jsonl?key=id&text=text", "--target", f"fbin:{folder}/{name}.fbin",
             "--api-base", f"http://127.0.0.1:{port}/v1", "--model", "m", "--dimensions", str(DIM), "--batch-size",
             str(arguments.batch), "--job", f"{folder}/{name}", "--quiet", "--yes"]
    if not arguments.default:
        words += ["--concurrency", str(arguments.concurrency)]
    environment = dict(os.environ, HOME=folder, XDG_STATE_HOME=folder, OPENAI_API_KEY="")
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    end = time.monotonic()
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return begin, end


def idle(seen, begin, end, places):
    """Seconds in which a place had no request, over all places, between two moments; as if all had been idle together."""
    busy = sum(max(0.0, min(left, end) - max(came, begin)) for came, left, _ in seen)
    return (end - begin) - busy / places


def timeline(seen, begin, end, places, batch):
    seen = sorted(seen)
    rows = [one for one in seen if one[2] == batch]
    first, first_rows, last = seen[0][0], rows[0][0], rows[-1][0]
    # From here on all places have been taken once.
    full = next((came for came, _, _ in rows if sum(c <= came < l for c, l, _ in seen) >= places), rows[-1][0])
    answered = max(left for _, left, _ in seen)
    return {"before": first - begin, "alone": idle(seen, first, first_rows, places), "ramp": idle(seen, first_rows, full, places),
            "between": idle(seen, full, last, places), "end": idle(seen, last, answered, places), "behind": end - answered}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reembed")
    parser.add_argument("--before")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--jitter-ms", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--default", action="store_true")
    arguments = parser.parse_args()
    latency, places = arguments.latency_ms / 1000, arguments.concurrency
    requests = int(arguments.seconds * places / latency)
    builds = {"now": arguments.reembed} | ({"before": arguments.before} if arguments.before else {})
    shares, parts = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/rows.jsonl", "w") as rows:
            for i in range(requests * arguments.batch):
                rows.write(f'{{"id":{i},"text":"this is the text of row {i}"}}\n')
        for round_ in range(arguments.rounds):
            names = ["pool", *builds] if round_ % 2 == 0 else [*reversed(builds), "pool"]
            for name in names:
                port_of, log = multiprocessing.Queue(), multiprocessing.Queue()
                server = multiprocessing.Process(target=serve, daemon=True, args=(port_of, log, latency, arguments.jitter_ms / 1000, round_))
                server.start()
                port = port_of.get()
                if name == "pool":
                    seconds = plain_pool(port, requests, places, arguments.batch)
                    seen = waiting_api.look_at(port, log)
                else:
                    begin, end = run(builds[name], port, folder, f"{name}{round_}", arguments)
                    seconds = end - begin
                    seen = waiting_api.look_at(port, log)
                    parts.setdefault(name, []).append(timeline(seen, begin, end, places, arguments.batch))
                server.terminate()
                server.join()
                # The answers as they were drawn, so that chance is no gain.
                waited = sum(left - came for came, left, texts in seen if texts == arguments.batch)
                shares.setdefault(name, []).append(waited / places / seconds)
                words = "".join(f", {part} {value:.2f}" for part, value in parts[name][-1].items()) if name != "pool" else ""
                print(f"{name:6} {seconds:6.2f} s, hidden {shares[name][-1]:.3f}{words}", flush=True)
    for name, found in shares.items():
        means = {part: statistics.median(one[part] for one in parts[name]) for part in parts[name][0]} if name in parts else {}
        print(f"{name:6} median of what is hidden {statistics.median(found):.3f}"
              + "".join(f", {part} {value:.2f} s" for part, value in means.items()))


if __name__ == "__main__":
    main()
