#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How true the time is that progress says is left: ten runs at a terminal, against `reembed serve`.

    python3 bench/time_left.py build/dev/reembed

For each run: the first time that was said, and of those from a tenth of the rows on (until 3 s before the end) how many
were within a fifth of the truth, and the worst. Some four minutes.
"""
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time

from ports import free_port

RUNS = [  # what the server is told, rows, what the run is told
    (["--latency-ms", "100"], 20000, ["--concurrency", "4", "--batch-size", "32"]),
    (["--latency-ms", "400"], 20000, ["--concurrency", "8", "--batch-size", "64"]),
    ([], 4000, ["--rpm", "600", "--batch-size", "16"]),
    ([], 6000, ["--rpm", "1200", "--batch-size", "16"]),
    (["--rpm", "900"], 4000, ["--batch-size", "16", "--concurrency", "4"]),
    ([], 20000, ["--tpm", "600000", "--batch-size", "64"]),
    (["--latency-ms", "30"], 30000, ["--concurrency", "2", "--batch-size", "16"]),
    (["--latency-ms", "800"], 12000, ["--concurrency", "4", "--batch-size", "64"]),
    (["--latency-ms", "200"], 60000, ["--batch-size", "128"]),
    ([], 3000, ["--rpm", "300", "--tpm", "400000", "--batch-size", "32"]),
]
SAID = re.compile(rb"([\d.]+) %.*?(?:([\d:]+)|([\d.]+) s) left")


def run_at_terminal(command):
    """Returns the seconds it took and what was said: (second, percent, seconds left)."""
    start = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(OPENAI_API_KEY="of-nobody", COLUMNS="100")
        os.execv(command[0], command)
    said = []
    while True:
        try:
            output = os.read(terminal, 4096)
        except OSError:  # the terminal's other end is closed
            break
        if not output:
            break
        now = time.monotonic() - start
        for line in re.split(rb"[\r\n]", output):
            found = SAID.search(line)
            if not found:
                continue
            if found[2]:
                left = sum(int(part) * 60**i for i, part in enumerate(reversed(found[2].split(b":"))))
            else:
                left = float(found[3])
            said.append((now, float(found[1]), left))
    os.waitpid(pid, 0)
    return time.monotonic() - start, said


def main():
    reembed = os.path.abspath(sys.argv[1])
    good = 0
    for server_args, rows, run_args in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/rows.jsonl", "w") as texts:
                for i in range(rows):
                    texts.write(json.dumps({"id": i, "text": f"row number {i} " + "word " * (i % 40)}) + "\n")
            port = free_port()
            server = subprocess.Popen([reembed, "serve", "--port", str(port), *server_args], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
            server.stdout.readline()  # it listens
            total, said = run_at_terminal([reembed, "run", "--source", f"jsonl:{folder}/rows.jsonl", "--target",
                                           f"npy:{folder}/vectors.npy", "--embedder", "openai", "--api-base",
                                           f"http://127.0.0.1:{port}/v1", "--model", "reembed-lexical-1", "--dimensions",
                                           "512", "--job", f"{folder}/job", *run_args])
            server.terminate()
            server.wait()
        errors = [left / (total - at) - 1 for at, percent, left in said if percent >= 10 and total - at > 3]
        within = sum(abs(error) <= 0.2 for error in errors)
        good += bool(errors) and within == len(errors)
        first = f"first said {said[0][2]:.0f} s" if said else "nothing said"
        worst = max(errors, key=abs, default=float("nan"))
        print(f"{' '.join(server_args + run_args)}: {total:.1f} s, {first}, within a fifth {within} of {len(errors)}, "
              f"worst {worst:+.2f}", flush=True)
    print(f"{good} of {len(RUNS)} runs within a fifth throughout")


if __name__ == "__main__":
    main()
