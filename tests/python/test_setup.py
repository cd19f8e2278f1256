# SPDX-License-Identifier: Apache-2.0
"""What helps to set the command up: doctor, paths, the units of systemd."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import COMMAND, ROOT


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, env={**os.environ, **variables})


def checks(*words: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and the checks of `doctor --json` by their names."""
    ran = run("doctor", *words, "--json", **variables)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines[-1]["message_type"] == "summary"
    assert lines[-1]["exit_code"] == ran.returncode
    found = {line["check"]: line for line in lines[:-1]}
    bad = sum(line["state"] == "problem" for line in lines[:-1])
    assert lines[-1]["problems"] == bad
    return ran.returncode, found


def test_doctor_looks_at_the_machine() -> None:
    code, found = checks()
    assert code == 0
    assert {"program", "processor", "data", "open files", "memory", "disk", "clock", "certificates"} <= set(found)
    assert "API" not in found
    text = run("doctor").stdout.splitlines()
    assert len(text) == len(found) + 2  # one line each
    assert text[-2] == "nothing is wrong" or "warning" in text[-2]


def test_doctor_names_what_is_wrong_with_this_machine(tmp_path: Path) -> None:
    code, found = checks(SSL_CERT_FILE="/nonexistent/ca.pem")
    assert code == 6
    assert found["certificates"]["state"] == "problem"
    assert "/nonexistent/ca.pem" in found["certificates"]["message"]
    (tmp_path / "file").touch()
    code, found = checks("--job", str(tmp_path / "file" / "job"))
    assert code == 2
    assert "no folder" in found["disk"]["message"]
    assert "--job DIR" in found["disk"]["fix"]
    ran = subprocess.run(["bash", "-c", f"ulimit -n 64; exec '{COMMAND}' doctor --json"], capture_output=True, text=True)
    files = next(json.loads(line) for line in ran.stdout.splitlines() if '"open files"' in line)
    assert (files["state"], ran.returncode) == ("warning", 0)
    assert "ulimit" in files["fix"]


def test_doctor_asks_the_api_with_one_text(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "secret-of-the-server")
    url = serve("--api-key-env", "SERVER_KEY")
    asked = ("--api-base", url, "--model", "reembed-lexical-1", "--dimensions", "512")
    code, found = checks(*asked, OPENAI_API_KEY="secret-of-the-server")
    assert (code, found["API"]["state"], found["network"]["state"]) == (0, "ok", "ok")
    assert "one text" in found["API"]["message"]
    code, found = checks(*asked, OPENAI_API_KEY="another-key-that-is-wrong")
    assert (code, found["API"]["state"]) == (6, "problem")
    assert "another-key" not in json.dumps(found)


def test_doctor_names_an_api_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        code, found = checks("--api-base", url, "--model", "m", "--dimensions", "8", "--timeout", "2", "--max-wait", "1")
    assert code == 5
    assert found["network"]["state"] == "problem"
    assert "firewall" in found["network"]["fix"]


def test_doctor_opens_the_stores_and_writes_nothing(database: Path) -> None:
    before = database.read_bytes()
    code, found = checks("--system", "agentloop", "--db", str(database), "--embedder", "builtin")
    assert code == 0
    assert "rows to embed" in found["source"]["message"]
    assert found["target"]["state"] == "ok"
    assert database.read_bytes() == before
    code, found = checks("--source", f"sqlite:{database}?table=nothing&text=x&vector=v", "--embedder", "builtin")
    assert code == 2
    assert "nothing" in found["stores"]["message"]


def test_doctor_says_what_a_key_is_missing_for() -> None:
    code, found = checks("--embedder", "openai", "--model", "text-embedding-3-small")
    assert code == 6
    assert "OPENAI_API_KEY" in found["API"]["message"]


def test_paths(tmp_path: Path) -> None:
    found = {line["what"]: line for line in map(json.loads, run("paths", "--json").stdout.splitlines())}
    assert found["program"]["path"] == str(Path(COMMAND).resolve())
    assert found["jobs"]["path"] == str(tmp_path / "state" / "reembed" / "jobs")
    assert found["jobs"]["exists"] is False
    assert str(tmp_path / "config" / "reembed") in run("paths").stdout


def test_units_of_systemd(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None, "systemd-analyze is not installed: tools/install-packages test"
    for name in ("reembed@.service", "reembed@.timer"):
        text = (ROOT / "data" / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("ExecStart=reembed", f"ExecStart={Path(COMMAND).resolve()}"))
    verified = subprocess.run([analyze, "verify", "--man=no", tmp_path / "reembed@notes.service", tmp_path / "reembed@notes.timer"],
                              capture_output=True, text=True)
    words = [line for line in verified.stderr.splitlines() if "reembed" in line]
    assert (verified.returncode, words) == (0, [])
    service = (ROOT / "data" / "systemd" / "reembed@.service").read_text()
    assert "SuccessExitStatus=3 143" in service


def test_a_unit_of_systemd_is_a_job_file_away(database: Path) -> None:
    """The command of the unit, with what stands for the place of its file."""
    folder = database.parent / "config" / "reembed"
    folder.mkdir(parents=True)
    (folder / "notes.toml").write_text(f'system = "agentloop"\ndb = "{database}"\nembedder = "builtin"\n')
    words = next(line for line in (ROOT / "data/systemd/reembed@.service").read_text().splitlines() if line.startswith("ExecStart="))
    command = words.removeprefix("ExecStart=").replace("%E", str(folder.parent)).replace("%i", "notes").split()
    assert command[0] == "reembed"
    assert run(*command[1:]).returncode == 3  # rows without a text: SuccessExitStatus


def test_the_line_for_cron_is_silent_where_nothing_is_wrong(database: Path) -> None:
    page = (ROOT / "data/manual/running.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("0 3 * * *  "))
    folder = Path(os.environ["HOME"]) / ".config" / "reembed"
    folder.mkdir(parents=True)
    (folder / "notes.env").write_text("export SOME_KEY=x\n")
    (folder / "notes.toml").write_text(f'system = "agentloop"\ndb = "{database}"\nembedder = "builtin"\n')
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    for _ in range(2):  # the second night has nothing to do
        ran = subprocess.run(["sh", "-c", line.removeprefix("0 3 * * *  ")], capture_output=True, text=True,
                             env={**os.environ, "PATH": path})
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    (folder / "notes.toml").write_text('system = "agentloop"\ndb = "/nonexistent.db"\nembedder = "builtin"\n')
    ran = subprocess.run(["sh", "-c", line.removeprefix("0 3 * * *  ")], capture_output=True, text=True,
                         env={**os.environ, "PATH": path})
    assert ran.returncode != 0
    assert "/nonexistent.db" in ran.stderr
