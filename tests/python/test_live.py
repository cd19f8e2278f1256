# SPDX-License-Identifier: Apache-2.0
"""What watches a run and steers it: the socket, USR1, metrics, the page's doors, the report, and --notify."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from prometheus_client.parser import text_string_to_metric_families

from conftest import COMMAND, ROOT
from live_runs import LiveRun

Serve = Callable[..., str]


def test_a_paused_run_sends_nothing_and_goes_on_where_it_was(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        paused = run.paused()
        assert paused["state"] == "paused" and paused["line"].startswith("paused: ")
        run.ask("rate", "rpm=0")  # hundreds of requests a second now, if any left
        for _ in range(30):
            assert run.look()["run"]["requests"] == paused["run"]["requests"]
        answer = run.ask("resume")
        assert (answer["paused"], answer["rpm"]) == (False, 0)
        code, summary = run.ended()
        assert (code, summary["rows_pending"]) == (3, 0), "some of the sample's rows have no usable text"
        assert not (tmp_path / "job" / "control.sock").exists()
        after = run.ctl("status")
        assert after.returncode != 0 and "no run of this job is active" in after.stderr


def test_rate_and_concurrency_hold_from_then_on(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        assert os.stat(tmp_path / "job" / "control.sock").st_mode & 0o777 == 0o600
        assert run.ask("rate", "rpm=240", "tpm=500000")["tpm"] == 500000
        assert run.ask("concurrency", "2")["concurrency"] == 2
        look = run.look()
        assert look["run"]["quota_requests_per_minute"] == 240
        assert look["run"]["quota_tokens_per_minute"] == 500000
        assert look["run"]["concurrency"] <= 2
        assert (look["wish"]["rpm"], look["wish"]["concurrency"]) == (240, 2)
        for words, sentence in [(["rate"], "expected rpm=N"), (["rate", "rpm=-1"], "expected a number above 0"),
                                (["rate", "rows=3"], "expected rpm=N or tpm=N, got rows=3"),
                                (["concurrency", "0"], "expected 1 to"), (["concurrency", "many"], "got many"),
                                (["faster"], "expected one of: status, pause")]:
            answer = run.ctl(*words)
            assert answer.returncode == 2 and sentence in json.loads(answer.stderr)["message"], answer
        assert run.hurry()[0] == 3


def test_stop_ends_a_run_as_term_does_and_the_same_command_goes_on(database: Path, serve: Serve,
                                                                   tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        run.ask("stop")
        code, summary = run.ended()
        assert code == 143 and summary["rows_pending"] > 0
        again = subprocess.run(run.command, capture_output=True, text=True)
        assert again.returncode == 3, again.stderr
        assert json.loads(again.stdout.splitlines()[-1])["rows_pending"] == 0


def test_abort_drops_what_is_in_the_air(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve("--latency-ms", "1500"), tmp_path / "job", "--stop-wait", "600") as run:
        run.wait(lambda look: look["run"]["rows_done"] > 0 and look["run"]["in_the_air"] > 0)
        assert run.ask("abort")["said"] == "abort"
        run.process.communicate(timeout=60)  # a busy machine leaves no time for a summary: it is not waited for, either
        assert run.process.returncode == 143
        again = subprocess.run(run.command, capture_output=True, text=True)
        assert again.returncode == 3, again.stderr
        summary = json.loads(again.stdout.splitlines()[-1])
        assert summary["rows_pending"] == 0
        assert summary["texts_possibly_rebought"] > 0, "they were not waited for"


def test_usr1_prints_the_status_and_ends_nothing(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        run.paused()
        run.process.send_signal(signal.SIGUSR1)
        assert run.process.stderr is not None
        line = run.process.stderr.readline()
        while not line.startswith("paused: "):
            line = run.process.stderr.readline()
        assert re.search(r"\d+ of \d+ rows", line), line
        run.ask("resume")
        assert run.hurry()[0] == 3


def test_a_path_too_long_for_a_socket_is_said_and_the_run_goes_on(database: Path, serve: Serve,
                                                                  tmp_path: Path) -> None:
    job = tmp_path / ("a" * 60) / ("b" * 60)
    ran = subprocess.run([COMMAND, "run", "--system", "agentloop", "--db", database, "--api-base", serve(), "--model", "m",
                          "--dimensions", "512", "--all", "--yes", "--job", job], capture_output=True, text=True)
    assert ran.returncode == 3, ran.stderr
    assert "cannot reach this run" in ran.stderr and "at most 107 bytes" in ran.stderr


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def scrape(url: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples by their names, as Prometheus's own client reads them."""
    with urllib.request.urlopen(url) as reply:
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        return samples(reply.read().decode())


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge"), family
        for sample in family.samples:
            assert sample.name.startswith("reembed_")
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def test_metrics_are_what_the_run_says_of_itself(database: Path, serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    with LiveRun(database, serve(), tmp_path / "job", "--metrics", str(port)) as run:
        run.running()
        url = f"http://127.0.0.1:{port}/metrics"
        look = run.paused()["run"]
        found = scrape(url)
        job = {"reembed_job": "job"}
        for name, value in [("reembed_rows_done_total", look["rows_done"]), ("reembed_requests_total", look["requests"]),
                            ("reembed_tokens_total", look["tokens"]),
                            ("reembed_rows_rejected_total", look["rows_rejected"]),
                            ("reembed_requests_in_flight", 0), ("reembed_rows_expected", look["rows_expected"]),
                            ("reembed_quota_requests_per_minute", 120)]:
            assert found[name] == [(job, value)], name
        state = {labels["state"]: value for labels, value in found["reembed_run_state"]}
        assert state == {"preparing": 0, "running": 0, "paused": 1, "stopping": 0, "finished": 0}
        target = look["targets"][0]
        assert found["reembed_target_rows_written_total"] == [({**job, "target": target["name"]},
                                                               target["rows_written"])]
        assert len(found["reembed_endpoint_requests_total"]) == 1
        line = http.client.HTTPConnection("127.0.0.1", port)
        for headers, path, status in [({"Host": "evil.example"}, "/metrics", 403), ({}, "/", 404)]:
            line.request("GET", path, headers=headers)
            reply = line.getresponse()
            reply.read()
            assert reply.status == status
            line.close()
        run.ask("resume")
        assert run.hurry()[0] == 3


def test_each_metric_of_the_grafana_file_is_there(database: Path, serve: Serve, tmp_path: Path) -> None:
    board = json.loads((ROOT / "data" / "grafana" / "reembed.json").read_text())
    wanted = set(re.findall(r"reembed_[a-z0-9_]+", json.dumps([panel["targets"] for panel in board["panels"]])))
    wanted -= {"reembed_job"}  # a label
    assert len(wanted) >= 12
    port = free_port()
    with LiveRun(database, serve(), tmp_path / "job", "--metrics", f"127.0.0.1:{port}", "--metrics-file",
                 str(tmp_path / "end.prom"), "--max-spend", "9", "--tpm", "500000") as run:
        run.running()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
            there = set(re.findall(r"^# TYPE (\S+)", reply.read().decode(), re.MULTILINE))
        run.hurry()
    # Some come when there is something to say of it: rejected rows, and how it ended.
    there |= set(samples((tmp_path / "end.prom").read_text()))
    assert wanted <= there, wanted - there


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_run(database: Path, serve: Serve, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with LiveRun(database, serve(), tmp_path / "job", "--metrics", port, "--dashboard", port) as run:
            run.running()
            assert run.ctl("dashboard").returncode != 0
            assert run.hurry()[0] == 3
        assert "there are no metrics of this run" in run.err and "choose another port" in run.err
        assert "there is no dashboard of this run" in run.err


def test_the_metrics_file_is_whole_and_says_how_it_ended(database: Path, serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "reembed.prom"
    with LiveRun(database, serve(), tmp_path / "job", "--metrics-file", str(file)) as run:
        run.running()
        end = False
        while not end:  # it is written at once and then every 15 s: whatever is read is whole
            end = file.exists() and file.read_text().endswith("\n") and bool(samples(file.read_text()))
        code, summary = run.hurry()
    found = samples(file.read_text())
    assert found["reembed_exit_code"][0][1] == code == 3
    assert found["reembed_rows_embedded_total"][0][1] == summary["rows_embedded"]
    assert found["reembed_tokens_total"][0][1] == summary["tokens"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob("reembed.prom*")] == ["reembed.prom"]
    unwritable = subprocess.run([*run.command, "--metrics-file", "/no/such/folder/x.prom"], capture_output=True, text=True)
    assert unwritable.returncode == 3 and "--metrics-file: /no/such/folder/x.prom" in unwritable.stderr


def test_notify_gets_the_summary_and_changes_nothing(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job", "--notify", f"cat > {tmp_path}/told; echo said; exit 3") as run:
        run.running()
        code, summary = run.hurry()
    assert json.loads((tmp_path / "told").read_text()) == summary
    assert code == 3 and "--notify: the command ended with exit code 3" in run.err and "said" in run.err
    failed = subprocess.run([COMMAND, "run", "--source", "jsonl:none.jsonl", "--target", "npy:x.npy", "--embedder",
                             "builtin", "--notify", f"cat > {tmp_path}/told"], capture_output=True, text=True)
    told = json.loads((tmp_path / "told").read_text())
    assert told["message_type"] == "error" and told["exit_code"] == failed.returncode != 0
    (tmp_path / "job.toml").write_text('source = "jsonl:x"\nnotify = "rm -rf /"\n')
    refused = subprocess.run([COMMAND, "run", tmp_path / "job.toml"], capture_output=True, text=True)
    assert refused.returncode == 2 and "unknown name `notify`" in refused.stderr


def status_of(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.putrequest(method, path, skip_host=True)
    for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
        line.putheader(name, value)
    if body is not None:
        line.putheader("Content-Length", str(len(body)))
    line.endheaders(body.encode() if body is not None else None)
    reply = line.getresponse()
    line.close()
    return reply.status


def test_the_page_opens_for_its_token_alone(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job", "--dashboard", "on") as run:
        run.running()
        url = urlsplit(run.dashboard())
        port, token = int(url.port or 0), parse_qs(url.query)["token"][0]
        assert url.hostname == "127.0.0.1" and len(token) == 32
        right = f"?token={token}"
        for path in ("/", "/look"):
            assert status_of(port, path + right) == 200
            assert status_of(port, path + right, Origin=f"http://127.0.0.1:{port}") == 200
            assert status_of(port, path + right, Host=f"localhost:{port}") == 200
            for wrong in ("", "?token=", f"?token={token[:-1]}", f"?token={'0' * 32}", f"?other={token}"):
                assert status_of(port, path + wrong) == 403, wrong
            assert status_of(port, path + right, Host="rebound.example") == 403
            assert status_of(port, path + right, Host="") == 403
            for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", f"http://localhost:{port}"):
                assert status_of(port, path + right, Origin=origin) == 403, origin
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/events{right}") as events:
            assert events.headers["x-accel-buffering"] == "no", "nginx would hold the events back"
        assert status_of(port, "/events") == 403
        assert status_of(port, "/obey", "POST", "stop") == 403
        assert status_of(port, "/obey" + right, "POST", "stop", Origin="http://evil.example") == 403
        assert status_of(port, "/obey" + right) == 405
        assert status_of(port, "/obey" + right, "POST", "faster") == 400
        assert status_of(port, "/nothing" + right) == 404
        assert run.process.poll() is None
        assert status_of(port, "/obey" + right, "POST", "rate rpm=0") == 200
        assert run.ended()[0] == 3
        assert token not in run.err and f"http://127.0.0.1:{port}/" in run.err
        for path in (tmp_path / "job").rglob("*"):
            assert not path.is_file() or token.encode() not in path.read_bytes(), path


def test_nothing_listens_unless_asked(database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        own = {os.readlink(link) for link in Path(f"/proc/{run.process.pid}/fd").iterdir()}
        table = [line.split() for file in ("tcp", "tcp6")
                 for line in Path(f"/proc/{run.process.pid}/net/{file}").read_text().splitlines()[1:]]
        listening = [line for line in table if line[3] == "0A" and f"socket:[{line[9]}]" in own]
        assert listening == []
        run.hurry()


def test_reports_say_what_became_of_the_job(database: Path, serve: Serve, tmp_path: Path) -> None:
    page, text = tmp_path / "out.html", tmp_path / "out.md"
    with LiveRun(database, serve(), tmp_path / "job", "--report", str(page), "--report", str(text)) as run:
        run.running()
        code, summary = run.hurry()
    assert code == 3
    html, md = page.read_text(), text.read_text()
    rejected = f"{summary['rows_rejected']:,}"
    assert f"<th>rejected</th><td>{rejected}</td>" in html and f"| rejected | {rejected} |" in md
    assert f"{summary['tokens']:,}" in html and html.count("<svg") == 6
    for outside in ("src=", "href=", "url(", "@import", "<script"):
        assert outside not in html, "it needs no other file"
    again = subprocess.run([COMMAND, "report", run.job], capture_output=True, text=True)
    assert "| rejected |" in again.stdout
    named = subprocess.run([*run.command, "--report", "out.pdf"], capture_output=True, text=True)
    assert named.returncode == 2 and "ends with .html or .md" in named.stderr
