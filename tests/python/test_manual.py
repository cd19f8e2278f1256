# SPDX-License-Identifier: Apache-2.0
"""The Python of the manual, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT


def test_the_blocks_of_the_chapter_run(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "data/manual/python.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(database.parent)
    names: dict[str, Any] = {}
    for block in blocks:
        # The last line of the first puts the rows back: the second reads the job all the same.
        exec(block.replace('"JOB"', "done.job"), names)
    assert len(names["matrix"]) == len(names["keys"]) > 0
    assert len(names["index"].search("trip to Lisbon", k=5)) == 5
