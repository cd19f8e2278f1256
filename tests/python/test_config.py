# SPDX-License-Identifier: Apache-2.0
"""Where settings come from: flags, variables, .env, job files, and the files of project, user and system."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import COMMAND

SECRET = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, env={**os.environ, **variables})


def settings(*words: str, **variables: str) -> dict[str, dict[str, Any]]:
    """What `config show --json` says, by the names of settings."""
    ran = run("config", "show", *words, "--json", **variables)
    assert ran.returncode == 0, ran.stderr
    return {line["name"]: line for line in map(json.loads, ran.stdout.splitlines())}


def origin(name: str, *words: str, **variables: str) -> tuple[Any, str]:
    found = settings(*words, **variables)[name]
    return found["value"], found["origin"]


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    file = tmp_path / "config" / "reembed" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    return tmp_path / "reembed.toml"


def test_the_nearest_layer_wins(tmp_path: Path, user_file: Path, project_file: Path) -> None:
    system = tmp_path / "etc" / "reembed" / "config.toml"
    system.parent.mkdir(parents=True)
    job = tmp_path / "job.toml"
    dirs = {"XDG_CONFIG_DIRS": str(tmp_path / "etc")}
    said: tuple[str, ...] = ()
    assert origin("concurrency", **dirs) == (None, "default")
    # Each is nearer than those before.
    system.write_text("concurrency = 1\n")
    assert origin("concurrency", **dirs) == ("1", "system file")
    user_file.write_text("\nconcurrency = 2\n")
    assert origin("concurrency", **dirs) == ("2", "user file")
    assert settings(**dirs)["concurrency"]["place"] == f"{user_file}:2"
    project_file.write_text("concurrency = 3\n")
    assert origin("concurrency", **dirs) == ("3", "project file")
    job.write_text("concurrency = 4\n")
    said = (str(job),)
    assert origin("concurrency", *said, **dirs) == ("4", "job file")
    (tmp_path / ".env").write_text("REEMBED_CONCURRENCY=5\n")
    assert origin("concurrency", *said, **dirs) == ("5", "file of variables")
    dirs["REEMBED_CONCURRENCY"] = "6"
    assert origin("concurrency", *said, **dirs) == ("6", "environment")
    assert settings(*said, **dirs)["concurrency"]["place"] == "REEMBED_CONCURRENCY"
    assert origin("concurrency", *said, "--concurrency", "7", **dirs) == ("7", "flag")


def test_a_switch_is_put_off_by_a_nearer_file(user_file: Path, project_file: Path) -> None:
    user_file.write_text("hedge = true\n")
    project_file.write_text("hedge = false\n")
    assert origin("hedge") == (None, "project file")


def test_what_is_shown_is_what_runs(database: Path, user_file: Path) -> None:
    user_file.write_text('batch-size = 7\nembedder = "builtin"\nquiet = true\n')
    planned = run("plan", "--system", "agentloop", "--db", str(database), "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout.splitlines()[-1])
    assert plan["requests"] >= plan["texts_unique"] / 7
    assert plan["model"] == "reembed-lexical-1"


def test_who_says_the_embedder_says_all_of_it(user_file: Path) -> None:
    user_file.write_text('embedder = "openai"\nmodel = "text-embedding-3-large"\napi-key-env = "MY_KEY"\nrpm = 9\n')
    assert origin("model") == ("text-embedding-3-large", "user file")
    assert origin("model", "--model", "text-embedding-3-small") == ("text-embedding-3-small", "flag")
    assert origin("embedder", "--model", "text-embedding-3-small") == ("openai", "user file")
    # Half of this and half of that would be neither; and another server does not get this one's key.
    said = settings("--api-base", "http://127.0.0.1:1/v1")
    assert (said["model"]["value"], said["api-key-env"]["value"], said["rpm"]["value"]) == (None, None, "9")
    assert "model" in run("config", "show", "--embedder", "builtin").stderr


def test_who_says_the_rows_says_also_where_vectors_go(project_file: Path) -> None:
    project_file.write_text('source = "jsonl:a.jsonl"\ntarget = ["npy:a.npy"]\nmodel = "m"\n')
    said = settings("--source", "jsonl:b.jsonl")
    assert (said["source"]["value"], said["target"]["value"], said["model"]["value"]) == ("jsonl:b.jsonl", [], "m")


def test_a_finished_job_is_not_changed_by_files(database: Path, tmp_path: Path, user_file: Path) -> None:
    job = tmp_path / "job"
    first = run("run", "--system", "agentloop", "--db", str(database), "--embedder", "builtin", "--job", str(job), "--json")
    assert first.returncode in (0, 3), first.stderr
    user_file.write_text('long-text = "split"\nnormalize = "as-received"\nwhere = "1 = 0"\nembedder = "openai"\n')
    again = run("run", str(job / "job.toml"), "--job", str(job), "--json")
    assert again.returncode == first.returncode, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["requests"] == 0


@pytest.mark.parametrize(("text", "line", "words"), [
    ("\nmodle = 'x'\n", 2, ["unknown name `modle`", "did you mean `model`?"]),
    ("batch_size = 3\n", 1, ["unknown name `batch_size`", "did you mean `batch-size`?"]),
    ("rpm = 'many'\n", 1, ["`rpm` has a value of another kind"]),
    ("\n\ncutoff = 'sharp'\n", 3, ["`cutoff`", "soft, hard, cautious", "`sharp`"]),
    ("yes = true\n", 1, ["unknown name `yes`", "--yes"]),
    ("rpm = \n", 1, []),
    ("[limits]\nrpm = 3\n", 1, ["unknown name `limits`"]),
])
def test_a_wrong_line_is_named(user_file: Path, text: str, line: int, words: list[str]) -> None:
    user_file.write_text(text)
    ran = run("config", "show")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"{user_file}: line {line}: " in ran.stderr
    for word in words:
        assert word in ran.stderr


@pytest.mark.parametrize("text", [
    f"api-key = '{SECRET}'\n",
    f"openai_api_key = '{SECRET}'\n",
    f"api-key-env = '{SECRET}'\n",
    f"header = ['Authorization: Bearer {SECRET}']\n",
    f"api-base = 'https://api.example/v1?key={SECRET}'\n",
])
def test_a_secret_in_a_file_is_refused_and_not_shown(user_file: Path, text: str) -> None:
    user_file.write_text(text)
    ran = run("config", "show", "--origin")
    assert ran.returncode == 2
    assert "this file must not contain a secret" in ran.stderr
    assert "line 1" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_secrets_are_not_shown() -> None:
    said = run("config", "show", "--origin", "--api-key-cmd", f"echo {SECRET}", "--proxy", f"http://me:{SECRET}@127.0.0.1:1")
    assert said.returncode == 0, said.stderr
    assert SECRET not in said.stdout + said.stderr
    assert "proxy = " in said.stdout and "api-key-cmd = " in said.stdout


def test_a_folder_makes_no_command_run_serve_or_write(tmp_path: Path, user_file: Path, project_file: Path) -> None:
    for name in ("notify", "api-key-cmd", "metrics-file", "dashboard"):
        project_file.write_text(f"{name} = 'touch taken'\n")
        refused = run("config", "show")
        assert refused.returncode == 2
        assert f"{project_file}: line 1: unknown name `{name}`" in refused.stderr and str(user_file) in refused.stderr
    project_file.unlink()
    (tmp_path / ".env").write_text("REEMBED_NOTIFY='touch taken'\nREEMBED_YES=1\nREEMBED_API_KEY_CMD='touch taken'\n")
    ran = run("config", "show", "--json")
    found = {line["name"]: line["value"] for line in map(json.loads, ran.stdout.splitlines())}
    assert (found["notify"], found["yes"], found["api-key-cmd"]) == (None, None, None)
    assert ran.stderr.count("is not read from there") == 3
    assert not (tmp_path / "taken").exists()
    # The user's own file may.
    user_file.write_text("notify = 'cat'\n")
    assert origin("notify") == ("cat", "user file")


def test_a_run_says_what_the_folder_has_said(database: Path, project_file: Path) -> None:
    project_file.write_text('embedder = "builtin"\n')
    words = ("plan", "--system", "agentloop", "--db", str(database))
    assert f"note: {project_file} says embedder" in run(*words).stderr
    assert run(*words, "--quiet").stderr == ""


def test_a_job_file_of_that_name_is_a_job_file(database: Path, project_file: Path) -> None:
    project_file.write_text(f'system = "agentloop"\ndb = "{database}"\nembedder = "builtin"\n')
    ran = run("plan", "reembed.toml", "--json")
    assert ran.returncode == 0 and ran.stderr == ""
    project_file.write_text('[source]\n[[stream]]\n')
    ran = run("plan", "--system", "agentloop", "--db", str(database), "--embedder", "builtin", "--json")
    assert ran.returncode == 0 and "is a job file" in ran.stderr


def test_which_env_file_may_stand_in_a_file(tmp_path: Path, project_file: Path) -> None:
    (tmp_path / ".env").write_text("REEMBED_RPM=1\n")
    (tmp_path / "other.env").write_text("export REEMBED_RPM=2  # ours\n")
    project_file.write_text('env-file = "other.env"\n')
    assert origin("rpm") == ("2", "file of variables")
    assert origin("rpm", "--no-env-file") == (None, "default")
    (tmp_path / "other.env").write_text("REEMBED_RPM=many\n")
    wrong = run("config", "show")
    assert wrong.returncode == 2 and "other.env: REEMBED_RPM: expected a number" in wrong.stderr


def test_a_variable_that_is_set_wins_over_env_and_an_empty_one_does_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REEMBED_MODEL=of-the-file\n")
    assert origin("model", REEMBED_MODEL="of-the-process") == ("of-the-process", "environment")
    assert origin("model", REEMBED_MODEL="") == ("of-the-file", "file of variables")


def test_files_of_other_editors(tmp_path: Path, user_file: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / ".env").write_bytes(mark + b"REEMBED_MODEL=first\r\n# a comment\r\nREEMBED_API_BASE=\"http://127.0.0.1:1/v1\"\r\n"
                                    b"REEMBED_RPM=7\r\n")
    user_file.write_bytes(mark + b"concurrency = 3\r\ncutoff = \"soft\"\r\n")
    said = settings()
    assert [said[name]["value"] for name in ("model", "api-base", "rpm", "concurrency", "cutoff")] == [
        "first", "http://127.0.0.1:1/v1", "7", "3", "soft"]


def test_a_key_file_of_other_editors(tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "key-of-the-server")
    url = serve("--dim", "64", "--api-key-env", "SERVER_KEY")
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbfkey-of-the-server\r\n")
    ran = run("doctor", "--api-base", url, "--model", "m", "--dimensions", "64", "--api-key-file", "key")
    assert ran.returncode == 0, ran.stdout


def test_several_system_folders(tmp_path: Path) -> None:
    for name, text in (("one", "rpm = 1\n"), ("two", "rpm = 2\ntpm = 2\n"), ("relative", "rpm = 3\nconcurrency = 3\n")):
        (tmp_path / name / "reembed").mkdir(parents=True)
        (tmp_path / name / "reembed" / "config.toml").write_text(text)
    said = settings(XDG_CONFIG_DIRS=f"relative::{tmp_path}/one:{tmp_path}/two:/nonexistent")
    assert [said[name]["value"] for name in ("rpm", "tpm", "concurrency")] == ["1", "2", None]


def test_no_home_and_no_folder_of_settings(tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CONFIG_HOME")}
    ran = subprocess.run([COMMAND, "config", "show"], capture_output=True, text=True, env=bare)
    assert ran.returncode == 0, ran.stderr
    # A relative path is none, as XDG has it.
    (tmp_path / "here" / "reembed").mkdir(parents=True)
    (tmp_path / "here" / "reembed" / "config.toml").write_text("rpm = 1\n")
    assert origin("rpm", XDG_CONFIG_HOME="here") == (None, "default")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "reembed").write_text("a file")
    assert run("config", "show").returncode == 0


def test_a_folder_that_may_not_be_looked_at_is_said_and_left_out(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("rpm = 1\n")
    user_file.parent.chmod(0)
    words = [COMMAND, "config", "show", "--json"]
    if os.geteuid() == 0:
        tmp_path.chmod(0o755)
        words = ["setpriv", "--reuid", "65534", "--clear-groups", *words]
    # As of a service that has another user's HOME.
    ran = subprocess.run(words, capture_output=True, text=True, cwd="/", env={**os.environ, "HOME": "/"})
    user_file.parent.chmod(0o700)
    if "setpriv" in words and ran.returncode == 127:
        pytest.skip("the command is not for other users here")
    assert ran.returncode == 0, ran.stderr
    assert "cannot be looked at" in ran.stderr and str(user_file) in ran.stderr


def test_paths_names_them(user_file: Path, project_file: Path) -> None:
    found = {line["what"]: line for line in map(json.loads, run("paths", "--json").stdout.splitlines())}
    assert found["user file"]["path"] == str(user_file) and found["user file"]["exists"] is False
    assert found["project file"]["path"] == str(project_file)
    assert found["system file"]["path"] == "/etc/xdg/reembed/config.toml"
    user_file.write_text("rpm = 1\n")
    assert f"user file     {user_file}\n" in run("paths").stdout


def test_every_flag_has_a_variable(tmp_path: Path, database: Path) -> None:
    for command in ("run", "verify", "status", "rollback", "backup", "restore", "search", "index build", "serve",
                    "bench endpoint", "merge", "report", "config show", "completion"):
        for line in run("help", *command.split()).stdout.splitlines():
            if line.startswith("  -") and "--help" not in line:
                assert "(Env:REEMBED_" in line, (command, line)
    for command, name in (("search", "REEMBED_SEARCH_TOP"), ("backup", "REEMBED_BACKUP_TO"), ("run", "REEMBED_MODEL"),
                          ("rollback", "REEMBED_ROLLBACK_YES"), ("verify", "REEMBED_JSON"),
                          ("serve", "REEMBED_SERVE_API_KEY_ENV"), ("search", "REEMBED_API_KEY_ENV")):
        assert f"(Env:{name})" in run("help", command).stdout, name
    place = {"REEMBED_BACKUP_TO": str(tmp_path / "saved"), "REEMBED_JSON": "1", "REEMBED_TARGET": "npy:other.npy"}
    saved = run("backup", "--source", f"sqlite:{database}", **place)
    assert saved.returncode == 0, saved.stderr
    # What run is told of its target says nothing to backup.
    lines = [json.loads(line) for line in saved.stdout.splitlines()]
    assert [line["message_type"] for line in lines] == ["part", "summary"]
    wrong = run("backup", "--source", f"sqlite:{database}", REEMBED_BACKUP_PROGRESS="x", REEMBED_PROGRESS="slow")
    assert wrong.returncode == 2
    assert "REEMBED_PROGRESS" in wrong.stderr


def test_commands_that_search_take_who_embeds_from_files(database: Path, tmp_path: Path, user_file: Path,
                                                         serve: Callable[..., str]) -> None:
    url = serve("--dim", "64")
    index = tmp_path / "m.faiss"
    made = run("run", "--system", "agentloop", "--db", str(database), "--api-base", url, "--model", "served", "--dimensions",
               "64", "--target", f"faiss:{index}", "--accept-rejects")
    assert made.returncode == 0, made.stderr
    asked = ["search", "--index", str(index), "trip", "to", "Lisbon"], ["index", "search", str(index), "trip"]
    for words in asked:  # OpenAI, without a key
        assert run(*words).returncode == 6
    user_file.write_text(f'api-base = "{url}"\nmodel = "served"\ninput-type = "document"\ndimensions = 7\n')
    for words in asked:
        found = run(*words, "--json")
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout.splitlines()[0])["message_type"] == "hit"
    # Flags are nearer; and an API that the file knows for another model is not asked for this one.
    assert "127.0.0.1:9" in run(*asked[0], "--api-base", "http://127.0.0.1:9/v1").stderr
    user_file.write_text(f'api-base = "{url}"\nmodel = "another"\n')
    for words in asked:
        assert run(*words).returncode == 6
    # Vectors of the built-in embedder are its own, whatever the file says.
    user_file.write_text('embedder = "openai"\nmodel = "text-embedding-3-large"\n')
    own = tmp_path / "own.faiss"
    made = run("run", "--system", "agentloop", "--db", str(database), "--embedder", "builtin", "--target", f"faiss:{own}",
               "--all", "--yes", "--accept-rejects")
    assert made.returncode == 0, made.stderr
    assert run("search", "--index", str(own), "trip").returncode == 0
    # Files of variables are read, too.
    user_file.unlink()
    (tmp_path / ".env").write_text(f"REEMBED_API_BASE={url}\n")
    assert run(*asked[0]).returncode == 0
    assert run(*asked[0], "--no-env-file").returncode == 6


def test_other_commands_take_what_means_the_same(database: Path, tmp_path: Path, user_file: Path,
                                                 project_file: Path) -> None:
    project_file.write_text(f'system = "agentloop"\ndb = "{database}"\nprogress = "off"\ntarget = ["npy:m.npy"]\n')
    saved = run("backup", "--to", "saved", "--json")
    assert saved.returncode == 0, saved.stderr
    assert json.loads(saved.stdout.splitlines()[0])["origin"] == f"sqlite:{database}"
    assert f"{project_file} says db, progress, system" in json.loads(saved.stderr.splitlines()[0])["message"]
    assert run("backup", "--to", "more", "--source", f"sqlite:{database}", "--quiet").stderr == ""
    # Where a restore goes to is its own affair.
    project_file.write_text('db = "elsewhere.db"\nno-input = true\n')
    assert run("restore", "saved", "--yes", "--json").returncode == 0
    assert not (tmp_path / "elsewhere.db").exists()
    project_file.unlink()
    user_file.write_text("quiet = true\n")
    restored = run("restore", "saved", "--yes")
    assert (restored.returncode, restored.stdout, restored.stderr) == (0, "", "")
    user_file.write_text("progress = 'slow'\n")
    wrong = run("restore", "saved", "--yes")
    assert wrong.returncode == 2 and f"{user_file}: line 1: `progress`" in wrong.stderr
    # A command that takes nothing of them does not look at them.
    assert run("status", "nowhere").stderr.count(str(user_file)) == 0


def test_the_key_of_files_is_not_for_another_api(database: Path, tmp_path: Path, user_file: Path, serve: Callable[..., str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "key-of-the-server")
    url = serve("--dim", "64", "--api-key-env", "SERVER_KEY")
    job = tmp_path / "job"
    made = run("run", "--system", "agentloop", "--db", str(database), "--api-base", url, "--model", "m", "--dimensions",
               "64", "--api-key-env", "SERVER_KEY", "--job", str(job), "--accept-rejects")
    assert made.returncode == 0, made.stderr
    (tmp_path / "other.key").write_text("key-of-another\n")
    user_file.write_text('api-key-file = "other.key"\n')
    assert run("verify", str(job), "--sample", "3").returncode == 0


def test_benches_and_launches_take_them(tmp_path: Path, user_file: Path, serve: Callable[..., str]) -> None:
    url = serve()
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "text": "one"}\n')
    user_file.write_text(f'api-base = "{url}"\nmodel = "served"\ndimensions = 64\nconcurrency = 1\nbatch-size = 1\n'
                         'report = ["of-runs.html"]\nrpm = 77\n')
    ran = run("bench", "endpoint", "--seconds", "0.01", "--json")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) > 3, "not only what a run is to send"
    assert not (tmp_path / "of-runs.html").exists()
    whole = run("bench", "all", "--source", "jsonl:rows.jsonl?key=id&text=text", "--target", "npy:rows.npy", "--seconds",
                "0.05", "--rows", "50", "--json")
    assert whole.returncode == 0, whole.stderr
    assert url.removesuffix("/v1") in whole.stdout
    assert not (tmp_path / "of-runs.html").exists()
    launched = run("launch", "slurm", "--shards", "2", "--job", str(tmp_path / "job"), "--source", "jsonl:rows.jsonl",
                   "--target", "fbin:rows.fbin", "--print")
    assert launched.returncode == 0, launched.stderr
    assert "--model=served" in launched.stdout and "--rpm=77" in launched.stdout
    assert "of-runs.html" not in launched.stdout
    # A job file says what the job is, also where it is not to be seen from here.
    launched = run("launch", "slurm", "/nowhere/job.toml", "--shards", "2", "--job", str(tmp_path / "job"), "--print")
    assert launched.returncode == 0, launched.stderr
    assert "--model" not in launched.stdout and "/nowhere/job.toml" in launched.stdout


def with_key(words: list[str], said: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([COMMAND, *words], input=said, capture_output=True)


def test_a_key_comes_on_standard_input(database: Path, tmp_path: Path, serve: Callable[..., str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "key-of-the-server")
    url, other = (serve("--dim", "64", "--api-key-env", "SERVER_KEY") for _ in range(2))
    monkeypatch.delenv("SERVER_KEY")
    api = ["--api-base", url, "--model", "m", "--dimensions", "64", "--api-key-file", "-"]
    for said in (b"key-of-the-server\n", b"key-of-the-server", b"key-of-the-server\r\nmore\n",
                 b"\xef\xbb\xbfkey-of-the-server\n"):
        assert with_key(["doctor", *api], said).returncode == 0, said
    job = tmp_path / "job"
    ran = with_key(["run", "--system", "agentloop", "--db", str(database), "--job", str(job), "--accept-rejects",
                    "--endpoint", f"{url},weight=1", "--endpoint", f"{other},weight=2", *api[2:]], b"key-of-the-server\n")
    assert ran.returncode == 0, ran.stderr
    assert b"key-of" not in ran.stdout + ran.stderr
    for file in job.iterdir():
        if file.is_file():
            assert b"key-of-the" not in file.read_bytes(), file
    assert "api-key-file" not in (job / "job.toml").read_text()
    # Once for all jobs that a command names.
    again = with_key(["verify", str(job), str(job), "--sample", "2", "--api-key-file", "-"], b"key-of-the-server\n")
    assert again.returncode == 0, again.stderr
    search = with_key(["search", "--target", f"sqlite:{database}?table=messages&key=message_id&vector=embedding", "--model", "m",
                       "--api-base", url, "--api-key-file", "-", "trip"], b"key-of-the-server\n")
    assert search.returncode == 0, search.stderr
    for words, said, sentence in (
            (["doctor", *api], b"", b"expected the key as the first line of standard input, got nothing"),
            (["doctor", *api], b"\nkey\n", b"got nothing"),
            (["doctor", *api], b"k" * 70000, b"a line that is too long"),
            (["run", "--source", "-", "--target", "npy:r.npy", *api], b"key\n", b"the rows come on standard input already"),
            (["run", "--source", "jsonl:-?key=k", "--target", "npy:r.npy", *api], b"key\n", b"come on standard input"),
            (["launch", "slurm", "--shards", "2", "--job", "j", "--source", "jsonl:r", "--target", "fbin:r", *api, "--print"],
             b"key\n", b"shards have no standard input"),
            (["run", "--endpoint", f"{url},key-file=-", "--source", "jsonl:r", "--target", "npy:r.npy", *api[2:6]], b"key\n",
             b"`-` goes with --api-key-file")):
        refused = with_key(words, said)
        assert refused.returncode in (1, 2), (words, refused)
        assert sentence in refused.stderr + refused.stdout, (words, refused)
    (tmp_path / "job.toml").write_text('api-key-file = "-"\n')
    refused = with_key(["config", "show", "job.toml"], b"key\n")
    assert refused.returncode == 2 and b"which a command has and no file" in refused.stderr


def test_a_key_is_not_asked_for_where_it_would_be_seen() -> None:
    ours, theirs = os.openpty()
    ran = subprocess.run([COMMAND, "doctor", "--api-key-file", "-"], stdin=theirs, capture_output=True, text=True)
    os.close(ours)
    os.close(theirs)
    assert ran.returncode == 2 and "standard input is a terminal" in ran.stderr


def test_a_cache_has_a_place_of_its_own(database: Path, tmp_path: Path, serve: Callable[..., str], user_file: Path) -> None:
    words = ["run", "--system", "agentloop", "--db", str(database), "--api-base", serve("--dim", "64"), "--model", "m",
             "--dimensions", "64", "--all", "--yes", "--accept-rejects", "--json"]
    file = tmp_path / "caches" / "reembed" / "vectors.db"
    where = {"XDG_CACHE_HOME": str(tmp_path / "caches")}
    assert any(line == {"message_type": "path", "what": "cache", "path": str(file), "exists": False}
               for line in map(json.loads, run("paths", "--json", **where).stdout.splitlines()))
    first = run(*words, "--job", "one", "--cache", "default", **where)
    assert first.returncode == 0, first.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    user_file.write_text('cache = "default"\n')
    second = run(*words, "--job", "two", **where)
    assert second.returncode == 0, second.stderr
    summary = json.loads(second.stdout.splitlines()[-1])
    assert summary["requests"] <= 2, "all but the probe of the width and the canary were there"
    user_file.unlink()
    # A relative folder is none, as XDG has it.
    assert run(*words, "--job", "three", "--cache", "default", XDG_CACHE_HOME="here").returncode == 0
    assert (tmp_path / "home" / ".cache" / "reembed" / "vectors.db").exists() and not (tmp_path / "here").exists()
    # A folder that cannot be had is said before anything is bought.
    (tmp_path / "taken").write_text("a file")
    refused = run(*words, "--job", "four", "--cache", "default", XDG_CACHE_HOME=str(tmp_path / "taken"))
    assert refused.returncode != 0 and "/taken/reembed/vectors.db" in refused.stderr
    assert not (tmp_path / "four").exists()


def test_a_variable_that_a_file_names_is_read(tmp_path: Path, project_file: Path) -> None:
    job = tmp_path / "j.toml"
    job.write_text('api-key-env = "REEMBED_TEST_KEY"\nembedder = "builtin"\n')
    said = "nobody reads the variable REEMBED_TEST_KEY"
    assert said in run("config", "show", REEMBED_TEST_KEY="k").stderr
    assert said not in run("config", "show", str(job), REEMBED_TEST_KEY="k").stderr
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished" / "job.toml").write_text(job.read_text())
    assert said not in run("status", str(tmp_path / "finished"), REEMBED_TEST_KEY="k").stderr
    job.rename(project_file)
    assert said not in run("config", "show", REEMBED_TEST_KEY="k").stderr


def test_what_is_off_by_a_flag_or_a_variable_stays_off(tmp_path: Path, user_file: Path) -> None:
    job = tmp_path / "job.toml"
    for file, said in ((user_file, ()), (job, (str(job),))):
        file.write_text("hedge = true\nrpm = 3000\n")
        assert origin("hedge", *said)[0] == "true"
        assert origin("hedge", *said, REEMBED_HEDGE="false") == (None, "environment")
        assert origin("hedge", *said, "--hedge=false") == (None, "flag")
        assert origin("rpm", *said, "--rpm", "0") == (None, "flag")
        (tmp_path / ".env").write_text("REEMBED_HEDGE=false\nREEMBED_RPM=0\n")
        assert origin("hedge", *said) == (None, "file of variables")
        assert origin("rpm", *said) == (None, "file of variables")
        (tmp_path / ".env").unlink()


def test_variables_of_services_of_kubernetes_are_not_ours(tmp_path: Path) -> None:
    links = {}
    for service, port in (("REEMBED", "8080"), ("REEMBED_SERVE", "8081")):
        links.update({f"{service}_SERVICE_HOST": "10.0.0.7", f"{service}_SERVICE_PORT": port, f"{service}_PORT_{port}_TCP": "x",
                      f"{service}_SERVICE_PORT_HTTP": port, f"{service}_PORT": f"tcp://10.0.0.7:{port}",
                      f"{service}_PORT_{port}_TCP_PROTO": "tcp"})
    shown = run("config", "show", **links)
    assert (shown.returncode, shown.stderr) == (0, "")
    server = subprocess.Popen([COMMAND, "serve", "--address", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env={**os.environ, **links, "REEMBED_SERVE_DIM": "32"})
    assert server.stdout is not None
    line = server.stdout.readline()
    server.kill()
    server.wait()
    assert "REEMBED_SERVE_PORT" not in line, line
    # What somebody has said counts, and what nobody reads is named.
    assert "REEMBED_PORTS" in run("config", "show", REEMBED_PORTS="1", **links).stderr
    assert run("serve", "--help", REEMBED_SERVE_PORT="eighty").returncode == 0
    wrong = run("serve", REEMBED_SERVE_PORT="eighty")
    assert wrong.returncode == 2 and "REEMBED_SERVE_PORT" in wrong.stderr
