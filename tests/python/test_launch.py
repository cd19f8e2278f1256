# SPDX-License-Identifier: Apache-2.0
"""`reembed launch kubernetes`: the manifest by the published schema and by a YAML parser, and run without a cluster."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from conftest import COMMAND
from index_job import IndexJob, expanded

# The first that has backoffLimitPerIndex without a gate, and the newest that is known here.
VERSIONS = ["1.29", "1.33", "1.37"]
COMMON = ["--image", "registry.example/reembed:0.3", "--claim", "texts", "--job", "/data/notes", "--shards", "4"]
RUN = ["--source", "jsonl:/data/notes.jsonl", "--target", "fbin:/data/notes.fbin", "--embedder", "builtin"]
ODD = [
    "it's", '"quoted"', "back\\slash\\", "\\n", "$HOME", "$(JOB_COMPLETION_INDEX)", "$$(NAME)", "$$$", "`id`", "no",
    "true", "null", "~", "1e3", "0x10", "2026-11-30", "- item", "key: value", "# c", "a #b", "{a: [b]}", "&a", "*a", "!t",
    "|", ">", "%", "@", " blanks ", "two\nlines", "\n", "\ttab", "end\r\n", "\x01\x1b[31m\x7f", "ä€😀",
    "\u2028\u2029\x85\ufeff\ufffe", "-leading", "--where=x",
]  # fmt: skip


def launch(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "launch", "kubernetes", *words], capture_output=True, text=True, env={**os.environ, **variables}
    )


def manifest(*words: str) -> dict[str, Any]:
    ran = launch(*words, "--print")
    assert ran.returncode == 0, ran.stderr
    job = yaml.safe_load(ran.stdout)
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    return job  # type: ignore[no-any-return]


def container(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]["containers"][0]  # type: ignore[no-any-return]


def test_the_manifest_is_what_the_schema_wants() -> None:
    job = manifest(
        *COMMON, *RUN, "--at-once", "2", "--retries", "7", "--namespace", "memory", "--name", "nightly", "--cpus", "1.5",
        "--memory", "2GiB", "--claim", "models=/models", "--secret", "openai", "--secret", "key=/run/key",
        "--stop-wait", "30",
    )  # fmt: skip
    assert job["metadata"]["name"] == "nightly" and job["metadata"]["namespace"] == "memory"
    spec = job["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"]) == (4, 2, 7)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy wants that
    assert pod["terminationGracePeriodSeconds"] >= 33
    assert container(job)["workingDir"] == "/data"
    assert container(job)["resources"] == {"requests": {"cpu": "1500m", "memory": "2048Mi"}, "limits": {"memory": "2048Mi"}}
    assert container(job)["envFrom"] == [{"secretRef": {"name": "openai"}}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container(job)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts["/data"]]["persistentVolumeClaim"] == {"claimName": "texts"}
    assert volumes[mounts["/models"]]["persistentVolumeClaim"] == {"claimName": "models"}
    assert volumes[mounts["/run/key"]]["secret"] == {"secretName": "key"}


def test_every_exit_code_has_what_the_readme_says() -> None:
    job = IndexJob(manifest(*COMMON, *RUN), Path("/"), {})
    expected = {
        1: "Count", 2: "FailJob", 3: "FailIndex", 4: "FailIndex", 5: "Count", 6: "FailJob", 7: "FailJob", 8: "FailIndex",
        9: "FailIndex", 10: "Ignore", 11: "Count", 129: "Count", 130: "Count", 137: "Count", 143: "Count",
    }  # fmt: skip
    assert {code: job.action(code) for code in expected} == expected
    rules = job.job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    for rule in rules[1:]:  # what the API server refuses besides the schema
        values = rule["onExitCodes"]["values"]
        assert values == sorted(set(values)) and 0 not in values
        assert rule["onExitCodes"]["containerName"] == container(job.job)["name"]


@pytest.mark.parametrize("odd", ODD)
def test_odd_words_come_out_as_they_went_in(odd: str) -> None:
    job = manifest(*COMMON, *RUN, "--where=" + odd, "--header=x-note: " + odd + "x")
    args = container(job)["args"]
    variables = {"JOB_COMPLETION_INDEX": "3", "NAME": "value", "HOME": "/root"}
    words = [expanded(word, variables) for word in args]
    assert "--where=" + odd in words
    assert "--header=x-note: " + odd + "x" in words
    assert words[:2] == ["run", "--shard=/4"]
    assert all(isinstance(word, str) for word in args)


@pytest.mark.parametrize("odd", ["no", "1e3", "12", "true"])
def test_names_are_strings(odd: str) -> None:
    job = manifest("--image", odd, "--claim", odd, "--secret", odd, "--name", odd, "--job", "a", "--shards", "1", *RUN)
    assert job["metadata"]["name"] == odd
    assert container(job)["image"] == odd
    assert job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == odd


KEY = "sk-proj-0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    "words",
    [
        ["--header", "Authorization: Bearer " + KEY],
        ["--api-key-env", KEY],
        ["--db-password-env", KEY],
        ["--api-base", f"https://user:{KEY}@api.example/v1"],
        ["--api-base", f"https://{KEY}@api.example/v1"],
        ["--api-base", f"https://api.example/v1?api_key={KEY}"],
        ["--proxy", f"http://user:{KEY}@proxy.example:3128"],
        ["--db", f"postgres://user:{KEY}@db.example/x"],
        ["--quota", f"redis://user:{KEY}@valkey.example/x"],
        ["--endpoint", f"https://user:{KEY}@api.example/v1,rpm=3"],
        ["--body-field", f"token={KEY}"],
    ],
)
def test_no_key_is_written_down(words: list[str]) -> None:
    ran = launch(*COMMON, *RUN, *words, "--print")
    assert ran.returncode == 2
    assert words[0] in ran.stderr
    assert KEY not in ran.stdout + ran.stderr


def test_keys_of_the_environment_stay_there() -> None:
    ran = launch(*COMMON, *RUN, "--print", OPENAI_API_KEY=KEY, REDIS_PASSWORD=KEY, PGPASSWORD=KEY)
    assert ran.returncode == 0 and KEY not in ran.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*COMMON, *RUN, "--name", "Notes"], "--name Notes"),
        ([*COMMON, *RUN, "--name", "a" * 62], "--name"),
        ([*COMMON, *RUN, "--namespace", "a.b"], "--namespace"),
        ([*COMMON, *RUN, "--claim", "models"], "--claim models"),
        ([*COMMON, *RUN, "--secret", "x=relative"], "x=relative"),
        ([*COMMON, *RUN, "--memory", "much"], "--memory"),
        ([*COMMON[2:], *RUN], "--image"),
        (["--image", "x", "--job", "/data/a", "--shards", "2", *RUN], "--claim"),
        (["--image", "x", "--claim", "texts", "--shards", "2", *RUN], "--job"),
        (["--image", "x", "--claim", "texts", "--job", "/data/a", *RUN], "--shards"),
        (["--image", "x", "--claim", "texts", "--job", "/elsewhere/a", "--shards", "2", *RUN], "/data"),
        ([*COMMON, "--source", "-", "--target", "fbin:/data/a.fbin"], "`-`"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], said: str) -> None:
    ran = launch(*words, "--print")
    assert ran.returncode == 2 and ran.stdout == ""
    assert said in ran.stderr


KUBECTL = """#!/bin/sh
printf '%s\\n' "$*" >>asked
case "$1" in
  get) [ ! -e state ] || cat state ;;
  create|replace) cat >manifest; [ ! -e refused ] || { echo 'error: no cluster' >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that writes down what it is asked; `state` is what it knows of the job."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def asked(folder: Path) -> list[str]:
    lines = [line.split()[0] for line in (folder / "asked").read_text().splitlines()]
    (folder / "asked").unlink()
    return lines


def test_the_same_command_starts_what_has_failed_and_nothing_else(kubectl: Path) -> None:
    words = [*COMMON, *RUN, "--namespace", "memory"]
    assert launch(*words).returncode == 0
    assert asked(kubectl) == ["get", "create"]
    assert (kubectl / "manifest").read_text() == launch(*words, "--print").stdout
    for state, done in [("notes ", ["get"]), ("notes Complete", ["get"]), ("notes FailureTarget Failed", ["get", "replace"])]:
        (kubectl / "state").write_text(state)
        ran = launch(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        assert asked(kubectl) == done, state
        line = json.loads(ran.stdout)
        assert (line["message_type"], line["kubernetes_job"], line["namespace"]) == ("launch", "notes", "memory")
    (kubectl / "state").write_text("notes Complete")
    assert launch(*words, "--complete").returncode == 0
    assert asked(kubectl) == ["get", "replace"]


def test_what_kubectl_says_is_handed_on(kubectl: Path) -> None:
    (kubectl / "refused").touch()
    ran = launch(*COMMON, *RUN)
    assert ran.returncode == 5 and "error: no cluster" in ran.stderr
    ran = launch(*COMMON, *RUN, PATH="/nonexistent")
    assert ran.returncode == 2 and "kubectl" in ran.stderr and "--print" in ran.stderr


STUB = """#!/bin/bash
# Ends with the codes of its index, one after another; the last one stays.
i=$JOB_COMPLETION_INDEX
read -r -a codes <codes-$i
n=$(cat begun-$i 2>/dev/null | wc -l)
echo >>begun-$i
exit ${codes[n]:-${codes[-1]}}
"""


def play(folder: Path, codes: list[list[int]], *words: str) -> IndexJob:
    """The Job of a launch with these words, run to its end by a command that ends with these codes."""
    program = folder / "bin" / "reembed"
    program.parent.mkdir(exist_ok=True)
    program.write_text(STUB)
    program.chmod(0o755)
    for index, line in enumerate(codes):
        (folder / f"codes-{index}").write_text(" ".join(map(str, line)) + "\n")
    job = manifest("--image", "x", "--claim", "texts", "--job", "/data/a", "--shards", str(len(codes)), *RUN, *words)
    played = IndexJob(job, folder, {"PATH": f"{program.parent}:{os.environ['PATH']}"})
    played.state = played.run()
    return played


def test_failures_for_a_while_are_tried_again_and_time_that_is_up_does_not_count(tmp_path: Path) -> None:
    job = play(tmp_path, [[0], [5, 11, 137, 0], [10] * 9 + [0], [1, 143, 0]], "--retries", "3", "--at-once", "2")
    assert job.state == "Complete" and job.completed == {0, 1, 2, 3}
    assert [sum(i == index for i, _ in job.pods) for index in range(4)] == [1, 4, 10, 3]


def test_a_shard_that_fails_for_good_keeps_no_other_from_its_end(tmp_path: Path) -> None:
    job = play(tmp_path, [[5], [8], [0], [0]], "--retries", "2", "--at-once", "1")
    assert job.state == "Failed" and job.failed == {0, 1} and job.completed == {2, 3}
    assert [sum(i == index for i, _ in job.pods) for index in range(4)] == [3, 1, 1, 1]


@pytest.mark.parametrize("code", [2, 6, 7])
def test_what_is_wrong_for_all_starts_no_more(tmp_path: Path, code: int) -> None:
    job = play(tmp_path, [[0], [code], [0], [0]], "--at-once", "1")
    assert job.state == "Failed" and job.pods == [(0, 0), (1, code)]


def test_pods_that_are_killed_make_what_one_machine_makes(tmp_path: Path, serve: Callable[..., str]) -> None:
    rows = "".join(f'{{"key": {i}, "text": "a row with number {i}"}}\n' for i in range(1000))
    (tmp_path / "rows.jsonl").write_text(rows)
    words = ["--source", "jsonl:/data/rows.jsonl", "--api-base", serve("--latency-ms", "50", "--dim", "64")]
    words += ["--model", "lexical", "--dimensions", "64", "--batch-size", "8", "--concurrency", "2"]
    alone = [word.replace("/data/", f"{tmp_path}/") for word in words]
    subprocess.run(
        [COMMAND, "run", *alone, "--job", tmp_path / "one", "--target", f"fbin:{tmp_path}/one.fbin"], check=True
    )

    def kill_the_first_two(index: int, number: int, pod: subprocess.Popen[bytes]) -> None:
        """When each has kept its first vectors."""
        vectors = tmp_path / "notes" / f"shard-000{index}-of-0004" / "vectors.f32"
        size = vectors.stat().st_size if vectors.exists() else 0
        while number < 2 and pod.poll() is None:
            if vectors.exists() and vectors.stat().st_size > max(size, 8 * 64 * 4):
                pod.kill()
                return
            time.sleep(0.01)

    job = manifest(*COMMON, *words, "--target", "fbin:/data/all.fbin", "--at-once", "1")
    played = IndexJob(job, tmp_path, {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}, kill_the_first_two)
    assert played.run() == "Complete"
    assert [code for _, code in played.pods] == [137, 137, 137, 137, 137, 137, 137, 137, 0, 0, 0, 0]
    subprocess.run([COMMAND, "merge", tmp_path / "notes"], check=True)
    assert (tmp_path / "all.fbin").read_bytes() == (tmp_path / "one.fbin").read_bytes()
    assert (tmp_path / "one.fbin").stat().st_size == 8 + 1000 * 64 * 4
