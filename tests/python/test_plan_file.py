# SPDX-License-Identifier: Apache-2.0
"""`plan --out FILE`, and `run --plan FILE`, which does exactly that or says what no longer fits."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import COMMAND, ROOT


def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, env={**os.environ, **variables})


def summary(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.fixture
def plan(database: Path, tmp_path: Path) -> Path:
    """A plan of the sample with the built-in embedder."""
    made = run("plan", "--system", "agentloop", "--db", database, "--embedder", "builtin", "--batch-size", 16,
               "--job", tmp_path / "job", "--out", tmp_path / "plan.toml", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout.splitlines()[0]) == {"message_type": "saved_plan", "file": str(tmp_path / "plan.toml")}
    assert not (tmp_path / "job").exists()
    return tmp_path / "plan.toml"


def change(database: Path, sql: str) -> None:
    with sqlite3.connect(database) as db:
        db.execute(sql)
    db.close()


def test_a_run_does_what_the_plan_says(plan: Path, database: Path, tmp_path: Path) -> None:
    (tmp_path / "config" / "reembed").mkdir(parents=True)
    (tmp_path / "config" / "reembed" / "config.toml").write_text('batch-size = 1\nwhere = "1 = 0"\nprogress = "off"\n')
    ran = run("run", "--plan", plan, "--json")
    assert ran.returncode in (0, 3), ran.stderr
    said = summary(ran)
    with sqlite3.connect(database) as db:
        filled, = db.execute("SELECT count(*) FROM messages WHERE embedding IS NOT NULL").fetchone()
    db.close()
    assert said["rows_embedded"] == filled > 200
    assert said["requests"] < filled  # sixteen texts each, not one
    assert (tmp_path / "job" / "plan.toml").read_text() == plan.read_text()
    # The same command resumes with it, although its rows are no longer those that were planned.
    again = run("run", "--plan", plan, "--json")
    assert again.returncode == ran.returncode, again.stderr
    assert summary(again)["requests"] == 0


def refused(plan: Path, *more: object) -> str:
    ran = run("run", "--plan", plan, *more)
    assert ran.returncode == 6, (ran.returncode, ran.stderr)
    assert f"{plan}: the plan no longer fits: " in ran.stderr and "nothing was done" in ran.stderr
    assert f"--out {plan}" in ran.stderr
    assert not (plan.parent / "job").exists()
    return ran.stderr


def test_other_rows_are_said(plan: Path, database: Path) -> None:
    change(database, "DELETE FROM messages WHERE rowid IN (SELECT rowid FROM messages WHERE length(content) > 20 LIMIT 2)")
    assert "rows are to be read, and the plan has" in refused(plan)


def test_another_text_is_said(plan: Path, database: Path) -> None:
    row = "(SELECT min(rowid) FROM messages WHERE length(content) > 20)"
    change(database, f"UPDATE messages SET content = 'x' || content WHERE rowid = {row}")
    assert "keys or texts of rows are others" in refused(plan)


def test_another_price_is_said(tmp_path: Path, database: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    models = (ROOT / "data" / "models.toml").read_text()
    plan = tmp_path / "plan.toml"
    made = run("plan", "--system", "agentloop", "--db", database, "--embedder", "openai", "--model",
               "text-embedding-3-small", "--job", tmp_path / "job", "--out", plan)
    assert made.returncode == 0 and f"reembed run --plan {plan} does exactly this" in made.stdout
    before = 'name = "text-embedding-3-small"'
    at = models.index("usd_per_million_tokens", models.index(before))
    end = models.index("\n", at)
    (data / "models.toml").write_text(models[:at] + "usd_per_million_tokens = 7.5" + models[end:])
    (data / "systems").symlink_to(ROOT / "data" / "systems")
    ran = run("run", "--plan", plan, REEMBED_DATA=str(data), OPENAI_API_KEY="key-that-is-never-sent")
    assert ran.returncode == 6
    assert "the price is $7.5 a million tokens, and the plan has $0.02 a million tokens" in ran.stderr


def test_another_place_is_said(plan: Path, database: Path, tmp_path: Path) -> None:
    text = plan.read_text()
    plan.write_text(text.replace(str(database), str(tmp_path / "other.db")).replace("source = ", "source = ", 1))
    (tmp_path / "other.db").write_bytes(database.read_bytes())
    # Only the option is edited, not what was found with it.
    lines = [line.replace("other.db", "memory.db") if line.lstrip().startswith(("source", "targets", "changes")) else line
             for line in plan.read_text().splitlines()]
    plan.write_text("\n".join(lines) + "\n")
    assert "the source is " in refused(plan)


@pytest.mark.parametrize(("flag", "value", "words"), [
    ("--model", "another", "the plan"),
    ("--where", "1 = 0", "does not say it"),
    ("--all", None, "does not say it"),
])
def test_flags_do_not_change_a_plan(plan: Path, flag: str, value: str | None, words: str) -> None:
    ran = run("run", "--plan", plan, flag, *([] if value is None else [value]))
    assert ran.returncode == 2
    assert flag in ran.stderr and words in ran.stderr and "make a new plan with it" in ran.stderr
    if value is not None:
        name = "REEMBED_" + flag[2:].upper()
        assert f"the variable {name}" in run("run", "--plan", plan, **{name: value}).stderr


def test_how_fast_is_not_the_plans(plan: Path) -> None:
    ran = run("run", "--plan", plan, "--concurrency", 1, "--quiet", "--accept-rejects")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_stopped_run_goes_on_with_its_plan(database: Path, serve: Callable[..., str], tmp_path: Path) -> None:
    url = serve("--latency-ms", "200", "--dim", "64")
    plan = tmp_path / "plan.toml"
    asked = ["--system", "agentloop", "--db", database, "--api-base", url, "--model", "m", "--dimensions", 64,
             "--batch-size", 1, "--concurrency", 1, "--job", tmp_path / "job"]
    assert run("plan", *asked, "--out", plan).returncode == 0
    begun = subprocess.Popen([COMMAND, "run", "--plan", str(plan), "--json", "--progress", "json"], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert begun.stdout is not None
    for line in begun.stdout:
        if json.loads(line).get("rows_done", 0) > 0:
            break
    begun.send_signal(signal.SIGTERM)
    begun.communicate()
    assert begun.returncode == 143
    again = run("run", "--plan", plan, "--concurrency", 32, "--json")
    assert again.returncode in (0, 3), again.stderr
    with sqlite3.connect(database) as db:
        filled, = db.execute("SELECT count(*) FROM messages WHERE embedding IS NOT NULL").fetchone()
    db.close()
    assert 0 < summary(again)["rows_embedded"] < filled


@pytest.mark.parametrize(("words", "said"), [
    (("plan", "--plan", "plan.toml"), "--plan goes with `reembed run`"),
    (("run", "--plan", "no-such-file"), "no-such-file: cannot be read"),
    (("run", "--plan", "empty.toml"), "is no plan"),
    (("run", "job.toml", "--plan", "plan.toml"), "leave the job file job.toml out"),
    (("plan", "--source", "jsonl:-", "--target", "npy:x.npy", "--embedder", "builtin", "--out", "p"), "only once"),
    (("plan", "--system", "agentloop", "--db", "memory.db", "--embedder", "builtin", "--out", "memory.db"), "no plan; name another"),
    (("plan", "--source", "jsonl:rows.jsonl", "--target", "npy:x.npy", "--api-base", "http://me:pass@127.0.0.1:1/v1",
      "--model", "m", "--dimensions", "8", "--out", "p"), "holds a password"),
])
def test_bad_plans(plan: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "job.toml").write_text("")
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "text": "one"}\n')
    before = (tmp_path / "memory.db").read_bytes()
    ran = run(*words)
    assert ran.returncode == 2, ran.stderr
    assert said in ran.stderr and "pass@" not in ran.stderr
    assert not (tmp_path / "p").exists() and (tmp_path / "memory.db").read_bytes() == before


def test_shares_do_one_plan(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": {i}, "text": "row number {i}"}}\n' for i in range(200)))
    made = run("plan", "--source", f"jsonl:{rows}", "--target", "fbin:all.fbin", "--embedder", "builtin", "--job",
               tmp_path / "job", "--out", tmp_path / "plan.toml")
    assert made.returncode == 0, made.stderr
    shares = [run("run", "--plan", tmp_path / "plan.toml", "--shard", f"{i}/2", "--json") for i in (0, 1)]
    for share in shares:
        assert share.returncode == 0, share.stderr
    assert sum(summary(share)["rows_embedded"] for share in shares) == 200
    # A share that comes again is a part of what has begun; another plan is none.
    assert run("run", "--plan", tmp_path / "plan.toml", "--shard", "1/2").returncode == 0
    again = run("plan", "--source", f"jsonl:{rows}", "--target", "fbin:other.fbin", "--embedder", "builtin", "--job",
                tmp_path / "job2", "--out", tmp_path / "plan2.toml")
    assert again.returncode == 0, again.stderr
    with rows.open("a") as more:
        more.write('{"id": 999, "text": "one more"}\n')
    refused = run("run", "--plan", tmp_path / "plan2.toml", "--shard", "0/2")
    assert refused.returncode == 6, refused
    assert "201 rows are to be read, and the plan has 200" in refused.stderr
    assert not (tmp_path / "job2").exists()
