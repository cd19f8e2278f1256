# SPDX-License-Identifier: Apache-2.0
"""Indexes of generated rows that are larger than the memory they are built in, and what recipes do: one command, which
goes on where it was stopped. Each step that is done is a line in FOLDER/results.jsonl and is not done again; what a step
has made is removed behind it.

usage: index_large.py REEMBED FOLDER [--part N] [--threads T] [--only memory|growth|recipes|wishes] [--peer PROGRAM]

    memory    10,000,000 x 256 within 2 GiB of anonymous memory: IVF4096,Flat; IVF4096,PQ64x4fs; HNSW32 (a set of shards)
    growth    rows a second of HNSW32, 1,000,000 x 256 against 100,000, beside FAISS's own adding; --peer is
              bench/peer_graph_build of the build directory
    recipes   1,000,000 x 768: recall and time of a search for five recipes
    wishes    1,000,000 x 768: ten settings of --recall and --memory, drawn by lot; each has to be kept

--part 20 takes a twentieth of the rows, and of the memory what can be had. Disk in FOLDER at one time: four times the
bytes of the rows (41 GB for `memory`), which is looked at before. Needs python3-numpy.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np

import peak_memory

SEED = 1
CENTRES = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=os.path.abspath)
    parser.add_argument("folder", type=os.path.abspath)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", choices=["", "memory", "growth", "recipes", "wishes"])
    parser.add_argument("--peer", type=os.path.abspath, default="")
    return parser.parse_args()


class Bench:
    def __init__(self, asked):
        self.asked = asked
        os.makedirs(asked.folder, exist_ok=True)
        self.results = os.path.join(asked.folder, "results.jsonl")
        self.done = {}
        if os.path.exists(self.results):
            with open(self.results) as lines:
                self.done = {line["step"]: line for line in map(json.loads, lines)}

    def path(self, name):
        return os.path.join(self.asked.folder, name)

    def keep(self, step, **values):
        line = {"step": step, "load": round(os.getloadavg()[0], 1), **values}
        with open(self.results, "a") as results:
            results.write(json.dumps(line) + "\n")
        self.done[step] = line
        print(json.dumps(line), flush=True)

    def rows(self, count, dim):
        """An fbin file of rows around centres, each block by a seed of its own: what is there already is gone on with."""
        path, block, header = self.path(f"rows-{count}-{dim}.fbin"), 65536, 8
        size = header + count * dim * 4
        free = shutil.disk_usage(self.asked.folder).free
        there = os.path.getsize(path) if os.path.exists(path) else 0
        if free < 4 * size - there:
            sys.exit(f"{self.asked.folder}: expected {4 * size / 1e9:.0f} GB free for {count:,} rows of {dim}, got "
                     f"{free / 1e9:.0f}; take --part, or another folder")
        if there == size:
            return path
        centres = np.random.default_rng(SEED).normal(size=(CENTRES, dim)).astype("float32")
        begin = max(there - header, 0) // (block * dim * 4) * block
        with open(path, "r+b" if there else "wb") as file:
            file.write(np.array([count, dim], "<u4").tobytes())
            file.truncate(header + begin * dim * 4)
            file.seek(0, os.SEEK_END)
            for at in range(begin, count, block):
                random = np.random.default_rng([SEED, at])
                n = min(block, count - at)
                rows = centres[random.integers(CENTRES, size=n)]
                rows += 0.5 * random.standard_normal((n, dim), dtype="float32")
                file.write(rows.tobytes())
        return path

    def run(self, *args, check=True):
        """Lines of JSON, seconds, and the peak of anonymous memory in MiB."""
        out = self.path("out.jsonl")
        quiet = [] if args[0] == "search" else ["--quiet"]
        with open(out, "w") as file:
            code, words, seconds, mib = peak_memory.run([self.asked.reembed, "index", *args, "--json", *quiet], file)
        if check and code != 0:
            sys.exit(f"{args}: ended with {code}: {words}")
        with open(out) as lines:
            return [json.loads(line) for line in lines], seconds, mib

    def clear(self, name):
        """Removes what a step has made."""
        for file in os.listdir(self.asked.folder):
            if file.startswith(name):
                os.remove(self.path(file))

    def memory(self):
        part = self.asked.part
        count, dim = 10_000_000 // part, 256
        lists = max(4096 // part, 64)
        # What is there for each list, row and thread does not become less by the part.
        mib = 2048 if part == 1 else max(2048 // part, 320)
        for factory in (f"IVF{lists},Flat", f"IVF{lists},PQ64x4fs", "HNSW32"):
            step = f"memory {count}x{dim} {factory} {mib} MiB"
            if step in self.done:
                continue
            source, index = self.rows(count, dim), self.path("memory.faiss")
            built, seconds, peak = self.run("build", source, "-o", index, "--factory", factory, "--build-memory",
                                            f"{mib}MiB", "--threads", self.asked.threads)
            with open(index + ".json") as file:
                about = json.load(file)
            _, searched, search_peak = self.run("search", index, "--vector", source, "-k", 10)
            self.keep(step, seconds=round(seconds, 1), rows_per_second=round(count / seconds), build_mib=round(peak),
                      kept=peak <= mib, shards=about.get("shards", 0), search_seconds=round(searched, 2),
                      search_mib=round(search_peak))
            self.clear("memory.faiss")

    def peer_data(self, count, dim):
        """A folder as peer_graph_build reads it: unit rows, queries near some of them, and their ten nearest."""
        folder, queries = self.path("peer"), 100
        os.makedirs(folder, exist_ok=True)
        rows = np.memmap(self.rows(count, dim), dtype="<f4", mode="r", offset=8, shape=(count, dim))
        random = np.random.default_rng([SEED, count])
        asked = np.array(rows[np.sort(random.choice(count, queries, replace=False))])
        asked += 0.1 * random.standard_normal(asked.shape, dtype="float32")
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        near, places = np.zeros((queries, 0), "float32"), np.zeros((queries, 0), "int64")
        with open(os.path.join(folder, "rows.f32"), "wb") as file:
            for at in range(0, count, 65536):
                block = np.array(rows[at:at + 65536])
                block /= np.linalg.norm(block, axis=1, keepdims=True)
                file.write(block.tobytes())
                near = np.concatenate([near, asked @ block.T], axis=1)
                places = np.concatenate([places, np.tile(np.arange(at, at + len(block)), (queries, 1))], axis=1)
                best = np.argsort(-near, axis=1)[:, :10]
                near, places = np.take_along_axis(near, best, 1), np.take_along_axis(places, best, 1)
        asked.tofile(os.path.join(folder, "queries.f32"))
        places.astype("int64").tofile(os.path.join(folder, "truth.i64"))
        with open(os.path.join(folder, "dim.txt"), "w") as file:
            file.write(str(dim))
        return folder

    def growth(self):
        if not self.asked.peer:
            sys.exit("growth: say with --peer where peer_graph_build is")
        few, many, dim = 100_000 // self.asked.part, 1_000_000 // self.asked.part, 256
        for count in (few, many):
            for who, words in (("reembed", ["ours", self.asked.threads, 64, "auto", "auto"]),
                               ("FAISS", ["plain", self.asked.threads, 64])):
                step = f"growth {count}x{dim} {who}"
                if step in self.done:
                    continue
                done = subprocess.run([self.asked.peer, self.peer_data(count, dim), *map(str, words)], capture_output=True,
                                      text=True)
                if done.returncode != 0:
                    sys.exit(f"{step}: ended with {done.returncode}: {done.stderr}")
                got = json.loads(done.stdout)
                self.keep(step, rows_per_second=round(count / got["seconds"]),
                          rows_per_processor_second=round(count / got["processor"]), recall=got["recall"], used=got["used"])
                shutil.rmtree(self.path("peer"))
        for who in ("reembed", "FAISS"):
            one, other = (self.done[f"growth {count}x{dim} {who}"]["rows_per_processor_second"] for count in (few, many))
            print(f"growth of {who}: {other / one:.2f} of the rows a second of the processor at {many:,} that there are at "
                  f"{few:,}")

    def recipes(self):
        count, dim = 1_000_000 // self.asked.part, 768
        for factory in ("Flat", "HNSW32", "IVF,Flat", "IVF,SQ8", "IVF,PQ192x4fs"):
            step = f"recipes {count}x{dim} {factory}"
            if step in self.done:
                continue
            source, index = self.rows(count, dim), self.path("recipe.faiss")
            _, seconds, peak = self.run("build", source, "-o", index, "--factory", factory, "--threads",
                                        self.asked.threads)
            lines, _, _ = self.run("eval", index, "--vectors", source, "--queries", 200, "--seed", 3, "--threads",
                                   self.asked.threads)
            points = [{key: round(line[key], 4) for key in ("recall_at_10", "p50_ms", "p99_ms", "queries_per_second")
                       if key in line} | {key: line[key] for key in ("nprobe", "ef_search") if line.get(key)}
                      for line in lines if "recall_at_10" in line]
            self.keep(step, seconds=round(seconds, 1), build_mib=round(peak), bytes=os.path.getsize(index),
                      points=points)
            self.clear("recipe.faiss")

    def wishes(self):
        count, dim = 1_000_000 // self.asked.part, 768
        random = np.random.default_rng(SEED)
        for number in range(10):
            recall = round(float(random.uniform(0.8, 0.98)), 3)
            mib = int(count * dim * 4 / 2**20 * random.uniform(0.3, 1.6))
            step = f"wishes {count}x{dim} {number}: recall {recall} in {mib} MiB"
            if step in self.done:
                continue
            source, index = self.rows(count, dim), self.path("wish.faiss")
            lines, seconds, _ = self.run("build", source, "-o", index, "--recall", recall, "--memory", f"{mib}MiB",
                                         "--threads", self.asked.threads, check=False)
            if not os.path.exists(index):
                self.keep(step, met=False, words=json.dumps(lines)[:300])
                continue
            with open(index + ".json") as file:
                about = json.load(file)
            # Other queries than those that it was tuned by, with the breadth that it has for its own.
            breadth = ["--nprobe", about["nprobe"]] if about["nprobe"] else \
                ["--ef-search", about["ef_search"]] if about["ef_search"] else []
            points, _, _ = self.run("eval", index, "--vectors", source, "--queries", 1000, "--seed", 77 + number,
                                    "--threads", self.asked.threads, *breadth)
            found = [line["recall_at_10"] for line in points if "recall_at_10" in line][0]
            size = os.path.getsize(index)
            self.keep(step, factory=about["factory"], seconds=round(seconds, 1), bytes=size, measured=about["recall_at_10"],
                      recall=round(found, 4), met=found >= recall and size <= mib * 2**20)
            self.clear("wish.faiss")
        kept = [line["met"] for step, line in self.done.items() if step.startswith(f"wishes {count}x{dim} ")]
        print(f"wishes kept: {sum(kept)} of {len(kept)}")


def main():
    bench = Bench(arguments())
    for name in ("memory", "growth", "recipes", "wishes"):
        if bench.asked.only in ("", name):
            getattr(bench, name)()


main()
