# SPDX-License-Identifier: Apache-2.0
"""Builds an IVF index of generated rows under a cap of memory, and says what anonymous memory it took.

usage: index_memory.py REEMBED FOLDER [ROWS [DIM [MEMORY [LISTS]]]]     e.g. ... 10000000 256 2GiB 4096

Needs python3-numpy, and in FOLDER four times the bytes of the rows: the rows, the copy that is mapped, parts, the index.
"""
import os
import sys

import numpy as np

import peak_memory

REEMBED, FOLDER = (os.path.abspath(path) for path in sys.argv[1:3])
ROWS, DIM, MEMORY, LISTS = (sys.argv[3:] + ["1000000", "256", "256MiB", "1024"][len(sys.argv) - 3 :])[:4]
SEED = 1


def write_rows(path, rows, dim):
    """Rows around 1,000 centres, a block at a time."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(1000, dim)).astype("float32")
    with open(path, "wb") as file:
        np.array([rows, dim], "<u4").tofile(file)
        for begin in range(0, rows, 65536):
            count = min(65536, rows - begin)
            block = centres[rng.integers(1000, size=count)]
            block += 0.5 * rng.standard_normal((count, dim), dtype="float32")
            block.tofile(file)


def run(*args):
    """Returns the seconds and the peak of anonymous memory in MiB."""
    code, words, seconds, mib = peak_memory.run([REEMBED, "index", *args])
    assert code == 0, (args, code, words)
    return seconds, mib


def main():
    os.makedirs(FOLDER, exist_ok=True)
    source, index = os.path.join(FOLDER, "rows.fbin"), os.path.join(FOLDER, "rows.faiss")
    write_rows(source, int(ROWS), int(DIM))
    seconds, mib = run("build", source, "-o", index, "--factory", f"IVF{LISTS},Flat", "--build-memory", MEMORY)
    print(f"build: {int(ROWS):,} x {DIM}, IVF{LISTS},Flat within {MEMORY}: {seconds:.0f} s, "
          f"{int(ROWS) / seconds:,.0f} rows/s, {mib:.0f} MiB of anonymous memory, seed {SEED}")
    seconds, mib = run("search", index, "--vector", source, "-k", "10", "--nprobe", "32")
    print(f"search: {seconds:.2f} s with opening, {mib:.0f} MiB of anonymous memory")


main()
