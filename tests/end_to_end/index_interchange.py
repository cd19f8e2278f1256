# SPDX-License-Identifier: Apache-2.0
"""What others make of our indexes, and we of theirs: Debian's Python packages faiss, h5py and numpy.

usage: index_interchange.py REEMBED FOLDER
"""
import json
import os
import shutil
import subprocess
import sys

import faiss
import h5py
import numpy as np

REEMBED, FOLDER = (os.path.abspath(path) for path in sys.argv[1:3])
SEED = 7
rng = np.random.default_rng(SEED)


def reembed(*args, code=0):
    done = subprocess.run([REEMBED, "index", *args], capture_output=True, text=True)
    assert done.returncode == code, (args, done.returncode, done.stderr)
    return done


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    os.chdir(FOLDER)
    centres = rng.normal(size=(40, 32))
    rows = (centres[rng.integers(40, size=4000)] + 0.5 * rng.normal(size=(4000, 32))).astype("float32")
    queries = (centres[rng.integers(40, size=100)] + 0.5 * rng.normal(size=(100, 32))).astype("float32")
    np.save("rows.npy", rows)
    np.save("queries.npy", queries)
    exact = faiss.IndexFlatL2(32)
    exact.add(rows)
    distances, neighbors = exact.search(queries, 100)
    with h5py.File("set.h5", "w") as file:
        file["train"], file["test"] = rows, queries
        file["neighbors"], file["distances"] = neighbors.astype("int32"), np.sqrt(distances)
        file.attrs["distance"] = "euclidean"

    # Our files, read by them: the same neighbours, kind by kind.
    for factory in ("Flat", "HNSW16", "IVF32,Flat", "IVF32,SQ8", "IVF32,PQ8x4", "HNSW16_SQ8"):
        path = "ours.faiss"
        reembed("build", "rows.npy", "-o", path, "--metric", "l2", "--factory", factory, "--quiet")
        index = faiss.read_index(path)
        assert index.ntotal == 4000 and index.d == 32, factory
        faiss.ParameterSpace().set_index_parameters(index.index if hasattr(index, "index") else index,
                                                    "nprobe=8" if "IVF" in factory else "")
        if factory == "HNSW16":
            faiss.downcast_index(index.index).hnsw.efSearch = 64
        for i in range(10):
            # One at a time, as we do: for many FAISS computes L2 in another way, and near ties change places.
            _, theirs = index.search(queries[i : i + 1], 10)
            hits = lines(reembed("search", path, "--vector", "queries.npy", "--row", str(i), "-k", "10", "--nprobe", "8",
                                 "--ef-search", "64", "--json"))
            ours = [hit["key"] for hit in hits]
            if factory != "HNSW16_SQ8":  # whose breadth is not set above
                assert ours == theirs[0].tolist(), (factory, i, ours, theirs[0])

    # Lists that stay on the disk.
    mapped = reembed("build", "rows.npy", "-o", "mapped.faiss", "--metric", "l2", "--factory", "IVF32,Flat", "--build-memory",
                     "1", code=2)
    least = mapped.stderr.rsplit("is ", 1)[1].split(" MiB")[0]
    big = np.repeat(rows, 5, axis=0)
    np.save("big.npy", big)
    reembed("build", "big.npy", "-o", "mapped.faiss", "--metric", "l2", "--factory", "IVF32,Flat", "--build-memory",
            least + "MiB", "--quiet")
    assert json.load(open("mapped.faiss.json"))["mapped"] is True
    index = faiss.read_index("mapped.faiss", faiss.IO_FLAG_MMAP)
    index.nprobe = 32
    found, _ = index.search(queries, 5)
    whole = faiss.IndexFlatL2(32)
    whole.add(big)
    expected, _ = whole.search(queries, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    # Their files, read by us.
    for factory in ("Flat", "HNSW16", "IVF32,Flat", "IVF32,PQ8x4", "IDMap,Flat", "IDMap2,HNSW16"):
        index = faiss.index_factory(32, factory)
        index.train(rows)
        if factory.startswith("IDMap"):
            index.add_with_ids(rows, np.arange(4000) + 1000)
        else:
            index.add(rows)
        faiss.write_index(index, "theirs.index")
        hits = lines(reembed("search", "theirs.index", "--vector", "rows.npy", "--row", "17", "-k", "10", "--nprobe", "32",
                             "--ef-search", "200", "--json"))
        assert (1017 if factory.startswith("IDMap") else 17) in [hit["key"] for hit in hits], (factory, hits)
        info = lines(reembed("info", "theirs.index", "--json"))[0]
        assert info["rows"] == 4000 and info["metric"] == "l2", info
    faiss.write_index(faiss.index_factory(32, "LSH"), "theirs.index")
    reembed("info", "theirs.index", "--json")

    # Ground truth, theirs and ours: the same recall, and the same neighbours.
    reembed("build", "set.h5", "-o", "set.faiss", "--metric", "l2", "--factory", "HNSW16", "--quiet")
    by_theirs = lines(reembed("eval", "set.faiss", "--truth", "set.h5", "--ef-search", "32", "--json"))[0]
    by_ours = lines(reembed("eval", "set.faiss", "--queries-from", "queries.npy", "--ef-search", "32", "--json",
                            "--write-truth", "truth.h5"))[0]
    assert abs(by_theirs["recall_at_10"] - by_ours["recall_at_10"]) < 0.002, (by_theirs, by_ours)
    with h5py.File("truth.h5") as file:
        same = np.mean(file["neighbors"][:] == neighbors)
        assert same > 0.999, same
        np.testing.assert_allclose(file["distances"][:], np.sqrt(distances), rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(file["test"][:], queries)
        assert file.attrs["distance"] == "euclidean"
    print(f"seed {SEED}: faiss {faiss.__version__}, h5py {h5py.__version__}, numpy {np.__version__}: all as expected")


main()
