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
    assert "no secret stands in this file" in ran.stderr
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
    url = serve("--api-key-env", "SERVER_KEY")
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbfkey-of-the-server\r\n")
    ran = run("doctor", "--api-base", url, "--model", "m", "--dimensions", "512", "--api-key-file", "key")
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
    wrong = run("serve", REEMBED_SERVE_PORT="eighty")
    assert wrong.returncode == 2 and "REEMBED_SERVE_PORT" in wrong.stderr
