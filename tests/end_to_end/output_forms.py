# SPDX-License-Identifier: Apache-2.0
"""Files whose vectors take less room, read by Debian's numpy and h5py and compared bit by bit with their conversions of
the same vectors in float32; and what `verify` says of them.

usage: output_forms.py REEMBED FOLDER
"""
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

REEMBED, FOLDER = (os.path.abspath(path) for path in sys.argv[1:3])
ROWS, DIM, SHORT = 700, 128, 48


def reembed(*args, code=0):
    done = subprocess.run([REEMBED, *args], capture_output=True, text=True, env={**os.environ, "HOME": FOLDER})
    assert done.returncode == code, (args, done.returncode, done.stdout[-500:], done.stderr[-1000:])
    return done


def run(target, *args, code=0):
    return reembed("run", "--source", "jsonl:rows.jsonl", "--embedder", "builtin", "--dimensions", str(DIM), "--target",
                   target, "--job", target.split(":")[1].split("?")[0] + ".job", "--yes", "--quiet", *args, code=code)


def bfloat16(rows):
    """To nearest, ties to even, by whole numbers."""
    bits = rows.view("<u4").astype("u8")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def expected(rows, kind):
    return {"float16": lambda: rows.astype("<f2").view("<u2"),
            "bfloat16": lambda: bfloat16(rows),
            "int8": lambda: np.rint(rows.astype("f8") * 127).astype("i1"),
            "binary": lambda: np.packbits(rows > 0, axis=1)}[kind]()


def same(kind, got, rows):
    wanted = expected(rows, kind)
    got = got.view("<u2") if kind in ("float16", "bfloat16") else got
    assert got.dtype == wanted.dtype and np.array_equal(got, wanted), (kind, got[:2], wanted[:2])


def verified(job):
    lines = [json.loads(line) for line in reembed("verify", job, "--json").stdout.splitlines()]
    return next(line for line in lines if line["message_type"] == "target")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    os.chdir(FOLDER)
    words = "garden harbour meeting invoice winter holiday doctor music engine recipe train letter".split()
    with open("rows.jsonl", "w") as file:
        for i in range(ROWS):
            text = " ".join(words[(i * k + k * k) % len(words)] for k in range(1, 9)) + f" {i}"
            file.write(json.dumps({"id": i, "text": text}) + "\n")
    run("npy:whole.npy")
    whole = np.load("whole.npy")
    assert whole.shape == (ROWS, DIM) and whole.dtype == np.dtype("<f4")
    assert "recall_at_10" not in verified("whole.npy.job")
    # A short vector has length 1: to a few units in the last place, as sums may be in any order.
    short = whole[:, :SHORT].astype("f8")
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    run("npy:short.npy", "--output-dim", str(SHORT))
    narrow = np.load("short.npy")
    np.testing.assert_allclose(narrow, short, rtol=3e-7, atol=1e-9)

    for rows, dim, more in ((whole, DIM, ()), (narrow, SHORT, ("--output-dim", str(SHORT)))):
        before = 1.01
        for kind in ("float16", "bfloat16", "int8", "binary"):
            npy, hdf5 = f"{kind}-{dim}.npy", f"{kind}-{dim}.h5"
            run(f"npy:{npy}", "--output-type", kind, *more)
            run(f"hdf5:{hdf5}", "--output-type", kind, *more)
            same(kind, np.load(npy), rows)
            with h5py.File(hdf5) as file:
                train = file["train"]
                assert train.shape == (ROWS, dim // 8 if kind == "binary" else dim)
                if kind == "bfloat16":
                    numbers = (expected(rows, kind).astype("<u4") << 16).view("<f4")
                    assert np.array_equal(train[:].astype("<f4"), numbers)
                else:
                    same(kind, train[:], rows)
                assert file.attrs["dimension"] == dim
            for job in (npy, hdf5):
                line = verified(f"{job}.job")
                assert line["vectors_compared"] == ROWS and 0 < line["recall_at_10"] <= 1, line
                assert line["recall_rows"] == ROWS and line["recall_queries"] == 200, line
            # The embedder is no Matryoshka model: what its first numbers find is nobody's promise.
            assert dim == SHORT or line["recall_at_10"] <= before + 0.01, (kind, line, before)
            before = line["recall_at_10"]

    for kind, name in (("int8", "rows.i8bin"), ("float16", "rows.f16bin"), ("float32", "rows.fbin")):
        run(f"fbin:{name}", "--output-type", kind)
        numbers = {"int8": "i1", "float16": "<u2", "float32": "<f4"}[kind]
        data = open(name, "rb").read()
        assert np.frombuffer(data[:8], "<u4").tolist() == [ROWS, DIM]
        rows = np.frombuffer(data[8:], numbers).reshape(ROWS, DIM)
        assert np.array_equal(rows, whole) if kind == "float32" else same(kind, rows, whole) is None
        verified(f"{name}.job")

    # A file that was changed by one bit is named, whatever its numbers are.
    with open("int8-128.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert "holds another vector" in reembed("verify", "int8-128.npy.job", code=8).stdout

    # What a format or a store does not have.
    assert "float32, float16 or int8" in run("fbin:no.bin", "--output-type", "binary", code=2).stderr
    assert "npy" in run("jsonl:no.jsonl", "--output-type", "int8", code=2).stderr
    assert "8 divides" in run("npy:no.npy", "--output-type", "binary", "--output-dim", "50", code=2).stderr
    assert "expected 1 to 128" in run("npy:no.npy", "--output-dim", "129", code=2).stderr

    # An index of reduced vectors against the whole ones.
    reembed("index", "build", "int8-128.h5", "-o", "int8.faiss", "--factory", "Flat", "--quiet")
    line = json.loads(reembed("index", "eval", "int8.faiss", "--vectors", "whole.npy", "--json").stdout.splitlines()[0])
    assert 0.5 < line["recall_at_10"] <= 1, line
    print(f"numpy {np.__version__}, h5py {h5py.__version__}: all as expected")


main()
