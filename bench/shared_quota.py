#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several workers on one quota of an account, with --quota and without: how much of it they use, and what is refused.

A real Valkey, `reembed serve` with the quota as the endpoint (two seconds of it saved up), and so many `reembed run` at once, each with rows of its own.
What is used: requests (or tokens) that were answered, by the quota of the time from the first worker's start to the last one's
end, so the starting of processes counts against it.

usage: bench/shared_quota.py REEMBED VALKEY_SERVER [--seconds 40] [--workers 1,4,16,32] [--rpm 1200] [--tpm 0] [--longest 240]
"""
import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time

from ports import free_port, wait_for_port

BATCH = 16
WORDS = 30


def drain(port):
    """The server's bucket is full at the start, with a minute's quota: leaves two seconds of it."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"model": "prepared", "dimensions": 32, "input": ["x " * 20000]})
    while True:
        connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        if reply.status == 429:
            break
    time.sleep(2)


def measure(arguments, workers, shared):
    with tempfile.TemporaryDirectory() as folder:
        valkey_port, port = free_port(), free_port()
        valkey = subprocess.Popen([arguments.valkey, "--port", str(valkey_port), "--save", "", "--dir", folder],
                                  stdout=subprocess.DEVNULL)
        limits = ["--rpm", str(arguments.rpm)] if arguments.rpm else []
        limits += ["--tpm", str(arguments.tpm)] if arguments.tpm else []
        server = subprocess.Popen([arguments.reembed, "serve", "--port", str(port), "--dim", "32", "--prepared"] + limits,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(valkey_port)
            wait_for_port(port)
            # Work for the time that is asked for, at the quota; a token is about four bytes.
            rates = []
            if arguments.rpm:
                rates.append(arguments.rpm / 60 * BATCH)
            if arguments.tpm:
                rates.append(arguments.tpm / 60 / (WORDS * 6 / 4))
            texts = int(min(rates) * arguments.seconds / workers)
            running = []
            for worker in range(workers):
                rows = os.path.join(folder, f"{worker}.jsonl")
                with open(rows, "w") as out:
                    for row in range(texts):
                        words = " ".join(f"w{(worker * texts + row) * 7 + i:05d}"[:5] for i in range(WORDS))
                        out.write(json.dumps({"key": row, "text": f"{worker} {row} {words}"}) + "\n")
            drain(port)
            environment = dict(os.environ, HOME=folder, XDG_STATE_HOME=folder, OPENAI_API_KEY="")
            start = time.monotonic()
            for worker in range(workers):
                command = [arguments.reembed, "run", "--source", f"jsonl:{folder}/{worker}.jsonl", "--target",
                           f"jsonl:{folder}/{worker}-out.jsonl", "--api-base", f"http://127.0.0.1:{port}/v1", "--model",
                           "prepared", "--dimensions", "32", "--batch-size", str(BATCH), "--concurrency", "8", "--job",
                           f"{folder}/job{worker}", "--max-duration", f"{arguments.longest}s", "--json", "--quiet"] + limits
                if shared:
                    command += ["--quota", f"redis://127.0.0.1:{valkey_port}/bench"]
                running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                                env=environment))
            summaries, gave_up, late = [], 0, 0
            for process in running:
                out, err = process.communicate()
                if process.returncode == 5:  # refused for too long
                    gave_up += 1
                elif process.returncode == 10:  # its time was up
                    late += 1
                elif process.returncode != 0:
                    sys.exit(f"a worker ended with {process.returncode}: {out}{err}")
                lines = [json.loads(line) for line in out.strip().splitlines()]
                summaries += [line for line in lines if line["message_type"] == "summary"]
            elapsed = time.monotonic() - start
        finally:
            server.kill()
            valkey.kill()
            server.wait()
            valkey.wait()
    refused = sum(s["http_429"] for s in summaries)
    requests = sum(s["requests"] for s in summaries)
    tokens = sum(s["tokens"] for s in summaries)
    used = []
    if arguments.rpm:
        used.append((requests - refused) / (arguments.rpm / 60 * elapsed))
    if arguments.tpm:
        used.append(tokens / (arguments.tpm / 60 * elapsed))
    if gave_up:
        print(f"{gave_up} of {workers} workers gave up; of those that had begun:")
    if late:
        print(f"{late} of {workers} workers had not come to their end after {arguments.longest} s:")
    times = sorted(s["elapsed_seconds"] for s in summaries)
    print(f"{workers:3d} workers, {'shared' if shared else 'alone '}: used {max(used):.3f}, refused {refused} of {requests} "
          f"({100 * refused / requests:.2f} %), {elapsed:.1f} s, a worker {times[0]:.1f} to {times[-1]:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reembed")
    parser.add_argument("valkey")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--workers", default="1,4,16,32")
    parser.add_argument("--rpm", type=float, default=1200)
    parser.add_argument("--tpm", type=float, default=0)
    parser.add_argument("--longest", type=int, default=240)
    parser.add_argument("--only", choices=["shared", "alone"])
    arguments = parser.parse_args()
    for workers in (int(n) for n in arguments.workers.split(",")):
        for shared in (True, False):
            if arguments.only is None or (arguments.only == "shared") == shared:
                measure(arguments, workers, shared)


if __name__ == "__main__":
    main()
