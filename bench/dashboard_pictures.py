#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the dashboard and the report, light and dark, 1280, 800 and 400 wide: running, paused, finished.

usage: bench/dashboard_pictures.py build/dev/reembed FOLDER [ROWS]     wants Debian's chromium and PyPI's websockets
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND, TO = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
os.environ["REEMBED_COMMAND"] = COMMAND
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from chromium import Chromium, Page  # noqa: E402

ROWS = sys.argv[3] if len(sys.argv) > 3 else "30000"
SIZES = {"wide": (1280, False), "800": (800, True), "400": (400, False), "wide-dark": (1280, True),
         "400-dark": (400, True)}


def pictures(page: Page, url: str, name: str) -> None:
    for size, (width, dark) in SIZES.items():
        page.open(url, width=width, dark=dark)
        page.wait_for("document.readyState === 'complete' && (!window.reembed || reembed.look && reembed.points.length > 2)")
        page.picture(TO / f"{name}-{size}.png")


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Chromium() as browser:
        base = Path(folder)
        database, job, report = base / "memory.db", base / "agentloop-3f2a91c0", base / "report.html"
        subprocess.run([COMMAND, "systems", "agentloop", "--make-sample", database, "--rows", ROWS], check=True)
        server = subprocess.Popen([COMMAND, "serve", "--port", "0", "--latency-ms", "120"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        url = server.stdout.readline().split()[2]
        run = subprocess.Popen(
            [COMMAND, "run", "--system", "agentloop", "--db", database, "--api-base", url,
             "--model", "text-embedding-3-small", "--dimensions", "256", "--all", "--yes", "--job", job, "--rpm", "1500",
             "--tpm", "900000", "--batch-size", "16", "--max-spend", "5", "--dashboard", "on", "--report", report,
             "--target", f"npy:{base}/messages.npy", "--quiet"])

        def ctl(*words: str) -> str:
            return subprocess.run([COMMAND, "ctl", job, *words], capture_output=True, text=True).stdout.strip()

        page = browser.page()
        while not ctl("status").startswith("running"):
            assert run.poll() is None
        address = ctl("dashboard")
        page.open(address)
        page.wait_for("window.reembed && reembed.points.length > 40")
        pictures(page, address, "running")
        page.open(address, width=1100, height=700)
        page.wait_for("window.reembed && reembed.look && reembed.points.length > 2")
        page.picture(TO / "readme.png", height=700)
        ctl("pause")
        page.wait_for("reembed.look.state === 'paused' && reembed.look.run.in_the_air === 0")
        pictures(page, address, "paused")
        ctl("rate", "rpm=0", "tpm=0")
        ctl("resume")
        run.wait()
        shown = subprocess.Popen([COMMAND, "dashboard", job], stdout=subprocess.PIPE, text=True)
        assert shown.stdout is not None
        pictures(page, shown.stdout.readline().split()[4], "finished")
        shown.terminate()
        shown.wait()
        pictures(page, report.as_uri(), "report")
        server.kill()
        server.wait()
    print(f"{len(list(TO.glob('*.png')))} pictures in {TO}")


main()
