# SPDX-License-Identifier: Apache-2.0
"""`import reembed` against the real command."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import reembed
from reembed import _errors, _progress
from reembed._flags import words_of

from conftest import COMMAND, ROOT

SLOW = {"model": "reembed-lexical-1", "dimensions": 512, "batch_size": 5, "concurrency": 1}


def fill(database: Path, **more: Any) -> reembed.RunSummary:
    return reembed.run(system="agentloop", db=database, embedder="builtin", job="job", **more)


def vectors_of(database: Path) -> dict[int, bytes | None]:
    with sqlite3.connect(database) as db:
        return dict(db.execute("SELECT message_id, embedding FROM messages").fetchall())


def test_flags_are_those_of_the_command() -> None:
    subprocess.run([sys.executable, ROOT / "tools/python/write_flags", COMMAND, "--check"], check=True)


def test_words() -> None:
    flags = {"batch_size": 5, "target": ["npy:a", "npy:b"], "yes": True, "all": False, "where": None, "db": Path("x")}
    assert words_of("job.toml", flags) == ["job.toml", "--batch-size=5", "--target=npy:a", "--target=npy:b", "--yes", "--db=x"]


def test_plan_writes_nothing_and_run_does_what_it_says(database: Path) -> None:
    before = database.read_bytes()
    plan = reembed.plan(system="agentloop", db=database, embedder="builtin", job="job")
    assert plan.rows_selected > 200
    assert plan.cost_usd == 0
    assert database.read_bytes() == before
    done = fill(database)
    assert (done.rows_selected, done.rows_rejected) == (plan.rows_selected, plan.rows_rejected)
    assert done.rows_embedded == plan.rows_selected - plan.rows_rejected
    assert done.texts_unique == plan.texts_unique
    assert done.exit_code == 3  # the sample has rows without a text
    assert done.targets[0].state == "complete"
    assert len(done.rejected_keys) == done.rows_rejected


def test_the_calls_say_what_the_command_says(database: Path) -> None:
    fill(database, target=f"npy:{database.parent}/rows.npy")
    said = subprocess.run([COMMAND, "status", "job", "--json"], capture_output=True, text=True, check=True).stdout
    status = reembed.status("job", rejects=1000)
    assert f'"rows_selected":{status.rows_selected},' in said
    assert f'"texts_kept":{status.texts_kept}' in said
    assert len(status.rejects) == status.rows_rejected
    assert len(status.targets) == 2
    assert [receipt.rows_embedded for receipt in status.receipts] == [status.rows_selected - status.rows_rejected]
    verified = reembed.verify("job")
    assert verified.problems == []
    assert verified.vectors_compared == 2 * (status.rows_selected - status.rows_rejected)


def test_rollback_puts_everything_back(database: Path) -> None:
    before = vectors_of(database)
    done = fill(database)
    assert vectors_of(database) != before
    back = reembed.rollback("job")
    assert back.rows_restored == done.rows_embedded
    assert vectors_of(database) == before


def test_rollback_names_what_somebody_changed(database: Path) -> None:
    fill(database)
    key = next(key for key, vector in vectors_of(database).items() if vector is not None)
    with sqlite3.connect(database) as db:
        db.execute("UPDATE messages SET embedding = ? WHERE message_id = ?", (struct.pack("512f", *range(512)), key))
    back = reembed.rollback("job")
    assert back.exit_code == 3
    assert [row["key"] for row in back.left] == [key]


def test_progress(database: Path, serve: Callable[..., str]) -> None:
    seen: list[reembed.Progress] = []
    done = reembed.run(
        system="agentloop", db=database, api_base=serve("--latency-ms", "100"), job="job", on_progress=seen.append, **SLOW
    )
    assert seen
    assert all(a.rows_done <= b.rows_done for a, b in zip(seen, seen[1:]))
    assert seen[-1].rows_expected == done.rows_selected
    assert seen[-1].rows_done <= done.rows_selected


def test_ctrl_c_waits_for_what_is_paid_for_and_the_same_call_goes_on(database: Path, serve: Callable[..., str]) -> None:
    url = serve("--latency-ms", "100")
    first: list[int] = []

    def interrupt(progress: reembed.Progress) -> None:
        if not first:
            first.append(progress.rows_done)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        reembed.run(system="agentloop", db=database, api_base=url, job="job", on_progress=interrupt, **SLOW)
    middle = reembed.status("job")
    assert middle.receipts[0].outcome == "stopped"
    assert 0 < middle.texts_kept < middle.texts_unique or middle.rows_pending > 0
    done = reembed.run(system="agentloop", db=database, api_base=url, job="job", concurrency=16, model=SLOW["model"],
                       dimensions=512)
    assert done.texts_possibly_rebought == 0
    assert done.texts_embedded == done.texts_unique - middle.texts_kept
    assert done.rows_pending == 0


def test_an_exception_of_on_progress_stops_the_run(database: Path, serve: Callable[..., str]) -> None:
    class Enough(Exception):
        pass

    def enough(progress: reembed.Progress) -> None:
        raise Enough

    with pytest.raises(Enough):
        reembed.run(system="agentloop", db=database, api_base=serve("--latency-ms", "100"), job="job", on_progress=enough, **SLOW)
    assert reembed.status("job").receipts[0].outcome == "stopped"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, reembed.FailedError),
        (2, reembed.UsageError),
        (4, reembed.QualityGateError),
        (5, reembed.TemporaryError),
        (6, reembed.FatalError),
        (7, reembed.SpendCapError),
        (8, reembed.MismatchError),
        (10, reembed.TimeLimitError),
        (11, reembed.LockedError),
        (129, reembed.InterruptedRun),
        (143, reembed.InterruptedRun),
        (77, reembed.FailedError),
        (-9, reembed.FailedError),
    ],
)
def test_each_exit_code_has_its_exception(code: int, kind: type[reembed.ReembedError]) -> None:
    error = _errors.error_of(code, "words", None, ("a note",))
    assert type(error) is kind
    assert error.exit_code == (code if code > 0 else 128 - code)
    assert str(error) == "words"


def test_errors_have_the_words_of_the_command(database: Path) -> None:
    with pytest.raises(reembed.UsageError, match="none.jsonl"):
        reembed.run(source="jsonl:none.jsonl", target="npy:rows.npy", embedder="builtin")
    with pytest.raises(reembed.UsageError, match="no job"):
        reembed.open("nothing")
    with pytest.raises(reembed.FatalError, match="OPENAI_API_KEY"):
        reembed.run(source=f"sqlite:{database}?table=messages&key=message_id&text=content&vector=embedding",
                    model="text-embedding-3-small")


def test_a_vector_that_somebody_changed_is_a_mismatch(database: Path) -> None:
    fill(database)
    key = next(key for key, vector in vectors_of(database).items() if vector is not None)
    with sqlite3.connect(database) as db:
        db.execute("UPDATE messages SET embedding = ? WHERE message_id = ?", (struct.pack("512f", *range(512)), key))
    with pytest.raises(reembed.MismatchError, match=str(key)) as caught:
        reembed.verify("job")
    assert caught.value.result.problem_count == 1


def test_two_runs_on_one_job(database: Path, serve: Callable[..., str]) -> None:
    tried: list[BaseException] = []

    def run_another(progress: reembed.Progress) -> None:
        if not tried:
            with pytest.raises(reembed.LockedError) as caught:
                reembed.run(system="agentloop", db=database, api_base=url, job="job", **SLOW)
            tried.append(caught.value)

    url = serve("--latency-ms", "100")
    reembed.run(system="agentloop", db=database, api_base=url, job="job", on_progress=run_another, **SLOW)
    assert len(tried) == 1


def test_open_gives_what_the_targets_have(database: Path) -> None:
    done = fill(database)
    with reembed.open(done.job) as job:
        assert len(job) == done.rows_selected
        assert job.vectors.shape == (done.texts_unique, 512)
        assert not job.vectors.flags.writeable
        stored = vectors_of(database)
        rows = dict(iter(job))
        assert set(rows) == {key for key, vector in stored.items() if vector is not None}
        for key, vector in rows.items():
            assert numpy.asarray(vector).tobytes() == stored[key]
        keys, matrix = job.matrix()
        assert matrix.tobytes() == b"".join(stored[key] or b"" for key in keys)
        assert {reject.key for reject in job.rejects} == set(job.keys) - set(keys)
        assert {reject.code for reject in job.rejects} == {"unusable text"}
        said = reembed.status(done.job, rejects=1000)
        assert job.rejects == said.rejects
        # The command says milliseconds, and so does the ledger.
        assert job.receipts == said.receipts
        assert (job.model, job.dimensions) == ("reembed-lexical-1", 512)


def test_open_knows_what_is_damaged_and_what_is_newer(database: Path) -> None:
    fill(database)
    with sqlite3.connect("job/ledger.db") as db:
        db.execute("UPDATE kept SET slot_end = slot_begin + 1")
        # As io/job/ledger_format.md reads it.
        kept = db.execute("""SELECT key, slot FROM rows JOIN kept
                             ON slot_begin = (SELECT max(slot_begin) FROM kept WHERE slot_begin <= slot)
                             WHERE slot < slot_end ORDER BY ordinal""").fetchall()
    with reembed.open("job") as job:
        assert 0 < len(kept) < len(job) / 2
        assert [(key, slot) for key, slot in zip(job.keys, job.slots) if slot >= 0] == kept
        assert job.matrix()[0] == [key for key, _ in kept]
    with sqlite3.connect("job/ledger.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(reembed.UsageError, match="format 99"):
        reembed.open("job")


def test_tables(database: Path) -> None:
    done = fill(database)
    with reembed.open(done.job) as job:
        frame = job.to_pandas()
        table = job.to_arrow()
        keys, vectors = job.matrix()
    assert list(frame["key"]) == keys
    assert numpy.array_equal(numpy.stack(list(frame["embedding"])), vectors)
    assert table.num_rows == len(keys)
    assert numpy.array_equal(numpy.stack(table["embedding"].to_numpy()), vectors)


def test_embeddings_search_as_the_command_does(database: Path) -> None:
    fill(database, target="faiss:rows.faiss")
    index = reembed.Embeddings("rows.faiss")
    hits = index.search("trip to Lisbon", 3)
    said = subprocess.run([COMMAND, "search", "--index", "rows.faiss", "--top", "3", "trip to Lisbon"],
                          capture_output=True, text=True, check=True).stdout
    assert len(hits) == 3
    for hit in hits:
        assert str(hit.key) in said
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search("--json", 1)  # a query is no flag


def test_embeddings_are_those_of_the_index(database: Path) -> None:
    done = fill(database, target="faiss:rows.faiss")
    with sqlite3.connect(database) as db:
        texts = dict(db.execute("SELECT message_id, content FROM messages").fetchall())
    with reembed.open(done.job) as job:
        keys, vectors = job.matrix()
    index = reembed.Embeddings("rows.faiss")
    some = [keys[0], keys[7], keys[3], keys[0]]
    found = index.embed_documents([texts[key] for key in some])
    for key, vector in zip(some, found):
        assert numpy.array_equal(numpy.array(vector, numpy.float32), vectors[keys.index(key)])
    assert index.embed_query(texts[keys[0]]) == found[0]
    assert index.embed_documents([]) == []
    with pytest.raises(reembed.ReembedError, match="text 1"):
        index.embed_documents(["good", ""])
    with pytest.raises(reembed.UsageError, match="none.faiss"):
        reembed.Embeddings("none.faiss")


def test_langchain_takes_it(database: Path) -> None:
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import InMemoryVectorStore

    fill(database, target="faiss:rows.faiss")
    index = reembed.Embeddings("rows.faiss")
    embeddings = index.to_langchain()
    assert isinstance(embeddings, Embeddings)
    store = InMemoryVectorStore.from_texts(["a night train to Lisbon", "yellow leaves of tomatoes"], embeddings)
    assert store.similarity_search("tomato plants", k=1)[0].page_content == "yellow leaves of tomatoes"
    documents = index.langchain_retriever(k=2).invoke("trip to Lisbon")
    assert [d.metadata["key"] for d in documents] == [hit.key for hit in index.search("trip to Lisbon", 2)]


def test_llama_index_takes_it(database: Path) -> None:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    fill(database, target="faiss:rows.faiss")
    index = reembed.Embeddings("rows.faiss")
    embedding = index.to_llama_index()
    assert isinstance(embedding, BaseEmbedding)
    texts = ["a night train to Lisbon", "yellow leaves of tomatoes"]
    assert embedding.get_text_embedding_batch(texts) == index.embed_documents(texts)
    nodes = index.llama_index_retriever(k=2).retrieve("trip to Lisbon")
    assert [n.metadata["key"] for n in nodes] == [hit.key for hit in index.search("trip to Lisbon", 2)]


def test_progress_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = reembed.Progress(rows_done=1200, rows_expected=5000, rows_rejected=3, rows_per_second=310, seconds_left=12)
    assert _progress.text_of(now) == "1,203 of 5,000 rows (24 %), 310 rows/s, 3 rejected, 0:12 left"
    terminal, plain = Terminal(), io.StringIO()
    for out in (terminal, plain):
        line = _progress.ProgressLine(out)
        line.show(now)
        line.show(reembed.Progress(rows_done=5, rows_expected=5000))
        line.close()
    assert terminal.getvalue().count("\r") == 2
    assert terminal.getvalue().endswith(" \n")  # nothing of the longer line is left
    assert plain.getvalue() == "1,203 of 5,000 rows (24 %), 310 rows/s, 3 rejected, 0:12 left\n"


def test_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class ZMQInteractiveShell:
        pass

    class Handle:
        def update(self, bar: str) -> None:
            shown.append(bar)

    def display(bar: str, display_id: bool) -> Handle:
        shown.append(bar)
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    ipython.display = types.ModuleType("IPython.display")  # type: ignore[attr-defined]
    ipython.display.display, ipython.display.HTML = display, str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)  # type: ignore[attr-defined]
    line = _progress.ProgressLine()
    line.show(reembed.Progress(rows_done=1, rows_expected=4))
    line.show(reembed.Progress(rows_done=2, rows_expected=4))
    line.close()
    assert ['value="1" max="4"' in shown[0], 'value="2" max="4"' in shown[1]] == [True, True]


def fake_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = tmp_path / "fake"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    monkeypatch.setenv("REEMBED_COMMAND", str(path))


def test_much_on_standard_error_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"message_type":"plan","rows_selected":7}'
    fake_command(tmp_path, monkeypatch, f"yes a note | head -n 200000 >&2\nprintf '%s\\n' '{said}'\n")
    assert reembed.plan().rows_selected == 7


def test_what_is_no_json_and_what_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(tmp_path, monkeypatch, "echo a line of something else\nkill -9 $$\n")
    with pytest.raises(reembed.FailedError) as caught:
        reembed.plan()
    assert caught.value.exit_code == 137
    assert caught.value.notes == ("a line of something else",)


def test_fields_of_a_newer_command_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"message_type":"plan","rows_selected":7,"of_tomorrow":[1]}'
    fake_command(tmp_path, monkeypatch, f"printf '%s\\n' '{said}'\n")
    assert reembed.plan().raw["of_tomorrow"] == [1]


def test_the_way_to_the_command_is_short() -> None:
    """The script `reembed` comes through this package: it starts no process and loads no numpy on its way."""
    program = "import sys, reembed._command; sys.exit('numpy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools/python"), "REEMBED_COMMAND": "/nonexistent/reembed"}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
    script = "from reembed._command import main; main()"
    environment["REEMBED_COMMAND"] = COMMAND
    for words, code in ((["--version"], 0), (["run", "--nonsense"], 2)):
        ran = subprocess.run([sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True)
        assert ran.returncode == code
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True).stdout
    assert said == f"reembed {reembed.__version__}\n"


def test_a_signal_of_the_terminal_reaches_the_command_by_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"message_type":"plan","rows_selected":%s}\\n'
    fake_command(tmp_path, monkeypatch, f"printf '{said}' $(cut -d' ' -f6 /proc/$$/stat)\n")
    assert reembed.plan().rows_selected != os.getsid(0)


def test_the_command_is_found_and_a_missing_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reembed.command_path() == COMMAND
    monkeypatch.delenv("REEMBED_COMMAND")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(reembed.FailedError, match="REEMBED_COMMAND"):
        reembed.command_path()
