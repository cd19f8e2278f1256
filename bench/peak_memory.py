# SPDX-License-Identifier: Apache-2.0
"""What a command takes while it runs: for measures of memory."""
import subprocess
import time

SECONDS_BETWEEN_LOOKS = 0.02


def anonymous_kib(pid):
    """Anonymous memory of a process now; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("RssAnon")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def run(command, out=subprocess.DEVNULL):
    """Runs it to its end. Returns its exit code, what it said on standard error, seconds, and the peak of its anonymous
    memory in MiB. `out`: a file for standard output."""
    begin, peak = time.monotonic(), 0
    # Few words are said there, so that a full pipe holds up nothing.
    process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, anonymous_kib(process.pid))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return process.returncode, process.stderr.read(), time.monotonic() - begin, peak / 1024
