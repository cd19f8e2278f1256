# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: its numbers are those of the snapshot, its buttons do what they say."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import Chromium, Page
from conftest import COMMAND
from live_runs import LiveRun

Serve = Callable[..., str]

# Everything that the page says by a name of the snapshot, with what stands there.
SHOWN = """[...document.querySelectorAll("[data-f]")].map((e) => [e.dataset.f, e.dataset.as, e.textContent, e.dataset.v])"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


def words(kind: str, value: Any) -> str:
    """A number as people read it; written anew from what the page is meant to say."""
    if value is None:
        return "–"
    if kind == "int":
        return f"{round(value):,}"
    if kind == "rate":
        return f"{value + 1e-9:,.0f}" if value >= 10 else f"{value:.1f}"
    if kind == "time":
        if value < 60:
            return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
        whole = int(value)
        return f"{whole // 60}:{whole % 60:02}" if whole < 3600 else f"{whole // 3600:,}:{whole // 60 % 60:02}:{whole % 60:02}"
    if kind == "short":
        return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"
    assert kind == "money"
    return f"${value:.2f}" if value == 0 or value >= 1 else f"${value:.4f}" if value >= 0.001 else f"${value:.6f}"


def compare(page: Page, look: dict[str, Any]) -> None:
    """The page against a snapshot, number by number."""
    shown = page.value(SHOWN)
    assert len(shown) >= 15
    for name, kind, text, raw in shown:
        value: Any = look
        for part in name.split("."):
            value = value[part]
        assert json.loads(raw) == value, name
        if kind not in ("rate", "short", "time"):  # halves may be rounded either way
            assert text == words(kind, value), name
        else:
            assert text in {words(kind, value), words(kind, value and value * (1 + 1e-6)),
                            words(kind, value and value * (1 - 1e-6))}, name
    run = look["run"]
    lanes = page.value("""[...document.querySelectorAll("#targets .lane")].map((e) => [
        e.querySelector(".name").title, Number(e.dataset.written)])""")
    assert lanes == [[target["name"], target["rows_written"]] for target in run["targets"]]
    lanes = page.value("""[...document.querySelectorAll("#endpoints .lane")].map((e) => [
        e.querySelector(".name").textContent, Number(e.dataset.requests)])""")
    assert lanes == [[endpoint["name"], endpoint["requests"]] for endpoint in run["endpoints"]]
    rejects = page.value("""[...document.querySelectorAll("#rejects tr")].map((e) => [
        Number(e.dataset.rows), e.children[1].textContent, e.children[2].textContent])""")
    assert rejects == [[each["rows"], each["code"], each["reason"]] for each in run["rejects"]]


def fits(page: Page) -> None:
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_page_says_what_the_snapshot_says(browser: Chromium, database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job", "--dashboard", "on") as run:
        run.running()
        page = browser.page()
        page.open(run.dashboard())
        page.wait_for("window.reembed && reembed.look && reembed.look.run.rows_done > 0")
        # While it goes on: what is shown is the look that came last.
        compare(page, page.value("reembed.look"))
        assert page.value("document.getElementById('state').textContent") == "running"
        # The buttons.
        page.value("document.getElementById('pause').click()")
        run.wait(lambda look: look["state"] == "paused")
        paused = run.paused()
        page.wait_for(f"reembed.look.state === 'paused' && reembed.look.run.rows_done === {paused['run']['rows_done']}"
                      " && reembed.look.run.in_the_air === 0")
        assert page.value("document.getElementById('left').textContent") == "paused"
        now = run.look()
        page_look = page.value("reembed.look")
        for name in ("rows_through", "requests", "tokens", "rows_rejected", "cost_usd", "targets", "rejects"):
            assert page_look["run"][name] == now["run"][name], name
        compare(page, page_look)
        page.value("document.getElementById('rpm').value = '300'; document.getElementById('concurrency').value = '3';"
                   "document.getElementById('form').requestSubmit()")
        run.wait(lambda look: look["wish"]["rpm"] == 300 and look["wish"]["concurrency"] == 3)
        page.value("document.getElementById('rpm').value = 'fast'; document.getElementById('form').requestSubmit()")
        page.wait_for("document.getElementById('said').className === 'bad'")
        assert "got rpm=fast" in page.value("document.getElementById('said').textContent")
        for width in (1280, 800, 400):
            page.open(run.dashboard(), width=width, dark=width == 800)
            page.wait_for("window.reembed && reembed.look")
            fits(page)
        page.value("document.getElementById('pause').click()")
        run.wait(lambda look: look["state"] == "running")
        # And the end, which the page learns before the run is gone.
        code, summary = run.hurry()
        page.wait_for("reembed.look.state === 'finished'")
        last = page.value("reembed.look")
        compare(page, last)
        assert (last["exit_code"], last["run"]["tokens"]) == (code, summary["tokens"])
        assert page.value("document.getElementById('state').textContent") == "finished"
        assert page.value("document.getElementById('buttons').hidden")
        assert page.errors == ['Failed to load resource: the server responded with a status of 400 (Bad Request)']


def test_stop_wants_two_clicks(browser: Chromium, database: Path, serve: Serve, tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job", "--dashboard") as run:
        run.running()
        page = browser.page()
        page.open(run.dashboard())
        page.wait_for("window.reembed && reembed.look && reembed.look.run.rows_done > 0")
        page.value("document.getElementById('stop').click()")
        assert page.value("document.getElementById('stop').textContent") == "Really stop?"
        assert run.look()["state"] == "running"
        page.value("document.getElementById('stop').click()")
        assert run.ended()[0] == 143


def test_a_finished_job_is_shown_by_a_command_of_its_own(browser: Chromium, database: Path, serve: Serve,
                                                         tmp_path: Path) -> None:
    with LiveRun(database, serve(), tmp_path / "job") as run:
        run.running()
        # Of a run that goes on it shows that, and hands on what the buttons say.
        for finished in (False, True):
            shown = subprocess.Popen([COMMAND, "dashboard", run.job], stdout=subprocess.PIPE, text=True)
            assert shown.stdout is not None
            url = shown.stdout.readline().split()[4]
            page = browser.page()
            page.open(url)
            page.wait_for("window.reembed && reembed.look")
            if finished:
                look = page.value("reembed.look")
                assert (look["state"], look["exit_code"]) == ("finished", code)
                assert look["run"]["tokens"] == summary["tokens"]
                assert page.value("document.querySelectorAll('svg .line').length") == 4
                compare(page, look)
            else:
                page.value("document.getElementById('pause').click()")
                run.wait(lambda look: look["state"] == "paused")
                run.ask("resume")
                code, summary = run.hurry()
            shown.send_signal(signal.SIGINT)
            shown.wait()
    nothing = subprocess.run([COMMAND, "dashboard", tmp_path / "home"], capture_output=True, text=True)
    assert nothing.returncode != 0 and "holds no job" in nothing.stderr


def test_the_course_of_a_run_shorter_than_a_look_is_shown(browser: Chromium, database: Path, serve: Serve,
                                                          tmp_path: Path) -> None:
    job = tmp_path / "job"
    run = subprocess.run([COMMAND, "run", "--system", "agentloop", "--db", database, "--api-base", serve(), "--model",
                          "text-embedding-3-small", "--dimensions", "512", "--all", "--yes", "--job", job])
    assert run.returncode == 3  # the sample has rows that cannot be embedded
    shown = subprocess.Popen([COMMAND, "dashboard", job], stdout=subprocess.PIPE, text=True)
    try:
        assert shown.stdout is not None
        page = browser.page()
        page.open(shown.stdout.readline().split()[4])
        page.wait_for("window.reembed && reembed.look")
        assert page.value("reembed.points.length") >= 2
        assert page.value("document.querySelectorAll('svg .line').length") == 4
    finally:
        shown.send_signal(signal.SIGINT)
        shown.communicate()
