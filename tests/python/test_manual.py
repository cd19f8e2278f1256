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


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as they are linked to."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = sorted(page for page in ROOT.rglob("*.md") if not {"build", ".git"} & set(page.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target
