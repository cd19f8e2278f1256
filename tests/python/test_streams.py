# SPDX-License-Identifier: Apache-2.0
"""`npy:-`: NumPy's array on standard output, and nothing beside it."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy
import pytest

from conftest import COMMAND
from live_runs import PATIENCE

ROWS = 700


def run(*words: object, said: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([COMMAND, *map(str, words)], input=said, capture_output=True)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows of which one has no text."""
    file = tmp_path / "rows.jsonl"
    texts = ["" if i == 3 else f"row number {i}" for i in range(ROWS)]
    file.write_text("".join(f'{{"id": {i}, "text": "{text}"}}\n' for i, text in enumerate(texts)))
    return file


def test_an_array_comes_out_and_no_other_byte(rows: Path, tmp_path: Path) -> None:
    whole = ["run", "--source", f"jsonl:{rows}", "--embedder", "builtin", "--dimensions", 64]
    file = run(*whole, "--job", "one", "--target", "npy:all.npy")
    assert file.returncode == 3, file.stderr
    wanted = numpy.load(tmp_path / "all.npy")
    # With all that is ever said, on standard error.
    stream = run(*whole, "--job", "two", "--target", "npy:-", "--progress", "on")
    assert stream.returncode == 3 and b"1 row has no vector: 3" in stream.stderr and b"target npy:-: complete" in stream.stderr
    read = io.BytesIO(stream.stdout)
    assert numpy.array_equal(numpy.load(read), wanted)
    assert read.read() == b"" and wanted.shape == (ROWS - 1, 64)
    # Once more: nothing is bought, and all of it comes.
    again = run(*whole, "--job", "two", "--target", "npy:-")
    assert again.stdout == stream.stdout
    # Between two pipes, as the conventions have it.
    piped = run("run", "--source", "jsonl:-", "--target", "npy:-", "--embedder", "builtin", "--dimensions", 64, "--job",
                "three", said=rows.read_bytes())
    assert piped.stdout == stream.stdout, piped.stderr


def test_without_rows_it_is_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    ran = run("run", "--source", "jsonl:none.jsonl", "--target", "npy:-", "--embedder", "builtin", "--dimensions", 64)
    assert ran.returncode == 0, ran.stderr
    assert numpy.load(io.BytesIO(ran.stdout)).shape == (0, 64)


def test_rows_that_change_meanwhile_come_once(tmp_path: Path) -> None:
    """A table is looked at again when all was written, and the array has what it holds then."""
    database = tmp_path / "notes.db"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        db.executemany("INSERT INTO notes VALUES (?, ?)", [(i, f"note {i}") for i in range(1, 31)])
    db.close()
    server = subprocess.Popen([COMMAND, "serve", "--port", "0", "--dim", "64", "--latency-ms", "700"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[2]
        running = subprocess.Popen([COMMAND, "run", "--source", f"sqlite:{database}?table=notes&key=id&text=body",
                                    "--target", "npy:-", "--api-base", url, "--model", "m", "--dimensions", "64",
                                    "--batch-size", "10", "--concurrency", "1", "--job", "job"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ledger = tmp_path / "job" / "ledger.db"
        count = 0
        while count == 0 and running.poll() is None:
            time.sleep(0.01)
            if not ledger.exists():
                continue
            look = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
            try:
                count = look.execute("SELECT count(*) FROM kept").fetchone()[0]
            except sqlite3.Error:
                pass
            look.close()
        with sqlite3.connect(database) as db:
            db.execute("INSERT INTO notes VALUES (31, 'one that came meanwhile')")
        db.close()
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        server.kill()
        server.wait()
    assert running.returncode == 0, err
    read = io.BytesIO(out)
    # 30 where all was over before the row came.
    assert numpy.load(read).shape in ((30, 64), (31, 64)) and read.read() == b""


@pytest.mark.parametrize(("targets", "more", "sentence"), [
    (["npy:-"], ["--json"], b"standard output is an array already"),
    (["npy:-", "-"], [], b"two of them are standard output"),
    (["npy:-?type=float16"], [], b"unknown parameter `type`"),
    (["fbin:-"], [], b"only `-` (JSON lines) and npy:- go through standard input and output"),
])
def test_what_cannot_go_out_is_refused(rows: Path, targets: list[str], more: list[str], sentence: bytes) -> None:
    flags = [word for target in targets for word in ("--target", target)]
    ran = run("run", "--source", f"jsonl:{rows}", "--embedder", "builtin", *flags, *more)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert sentence in ran.stderr


def test_a_reader_that_leaves_costs_nothing(rows: Path, tmp_path: Path) -> None:
    words = [COMMAND, "run", "--source", f"jsonl:{rows}", "--embedder", "builtin", "--dimensions", "1024", "--target",
             "npy:-", "--job", "job"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 5, err
    assert b"its reader has ended" in err
    again = subprocess.run(words, capture_output=True)
    assert numpy.load(io.BytesIO(again.stdout)).shape == (ROWS - 1, 1024)
