# SPDX-License-Identifier: Apache-2.0
"""Progress for people: a bar in a notebook, a line in a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from ._results import Progress

_PLAIN_SECONDS = 30.0


def _clock(seconds: float) -> str:
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"


def text_of(progress: Progress) -> str:
    """ "1,200 of 5,000 rows (24 %), 310 rows/s, 0:12 left" """
    done = progress.rows_done + progress.rows_rejected
    words = f"{done:,} rows"
    if progress.rows_expected > 0:
        share = min(100, 100 * done // progress.rows_expected)
        words = f"{done:,} of {progress.rows_expected:,} rows ({share} %)"
    words += f", {progress.rows_per_second:,.0f} rows/s"
    if progress.rows_rejected:
        words += f", {progress.rows_rejected:,} rejected"
    if progress.seconds_left is not None:
        words += f", {_clock(progress.seconds_left)} left"
    return words


def _notebook() -> Any | None:
    """IPython's display function in a notebook's kernel; None elsewhere. Nothing is imported that is not there yet."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display

    return display


class ProgressLine:
    """Shows Progress until close()."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stderr
        self._display = _notebook()
        self._handle: Any | None = None
        self._width = 0
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        if self._display is not None:
            self._show_bar(progress)
        elif self._out.isatty():
            text = text_of(progress)
            self._out.write("\r" + text.ljust(self._width))
            self._out.flush()
            self._width = len(text)
        elif time.monotonic() - self._last >= _PLAIN_SECONDS or self._last == 0.0:
            self._last = time.monotonic()
            self._out.write(text_of(progress) + "\n")
            self._out.flush()

    def _show_bar(self, progress: Progress) -> None:
        from IPython.display import HTML

        most = max(progress.rows_expected, 1)
        done = min(progress.rows_done + progress.rows_rejected, most)
        bar = HTML(f'<progress value="{done}" max="{most}" style="width:20em"></progress> {text_of(progress)}')
        if self._handle is None:
            assert self._display is not None
            self._handle = self._display(bar, display_id=True)
        else:
            self._handle.update(bar)

    def close(self) -> None:
        if self._width:
            self._out.write("\n")
            self._out.flush()
            self._width = 0
