# SPDX-License-Identifier: Apache-2.0
"""What tools/tidy looks at. clang-tidy itself, and what installs it, only write down here that they were called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

FILES = ("engine/one.cc", "engine/two.cc", "tests/engine/one_test.cc")
CALLED = "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"


def git(where: Path, *words: str) -> None:
    variables = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{role}_NAME": "somebody", f"GIT_{role}_EMAIL": "somebody@example.org"}
    subprocess.run(["git", *words], cwd=where, check=True, capture_output=True, env={**os.environ, **variables})


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CALLED + text)
    path.chmod(0o755)


def commit(where: Path, file: str, text: str) -> None:
    (where / file).parent.mkdir(parents=True, exist_ok=True)
    (where / file).write_text(text)
    git(where, "add", "--all")
    git(where, "commit", "--message", file)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits on main: everything, then engine/two.cc. No test changes it."""
    made = tmp_path_factory.mktemp("upstream")
    program(made / "tools" / "install-packages", 'echo "$1" >>build/installed\n')
    shutil.copy2(ROOT / "tools" / "tidy", made / "tools" / "tidy")
    for file in (".clang-tidy", "tests/tidy/own_code.cc", *FILES):
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        (made / file).write_text("\n")
    (made / ".gitignore").write_text("/build/\n")
    git(made, "init", "--initial-branch", "main")
    git(made, "add", "--all")
    git(made, "commit", "--message", "everything")
    commit(made, "engine/two.cc", "int two;\n")
    return made


def cloned(upstream: Path, where: Path, *options: str) -> Path:
    git(upstream, "clone", *options, upstream.as_uri(), str(where))
    return configured(where)


def configured(where: Path) -> Path:
    (where / "build" / "dev").mkdir(parents=True)
    commands = [{"file": str(where / file), "command": f"c++ -c {file}"} for file in FILES]
    (where / "build" / "dev" / "compile_commands.json").write_text(json.dumps(commands))
    return where


class Ran:
    """tools/tidy --install WORDS in a tree: how it ended, what it said, which files were looked at, what was installed."""

    def __init__(self, where: Path, *words: str) -> None:
        programs = where.parent / "programs"
        program(programs / "llvm-config-14", f"echo {where}/no_headers_of_clang\n")
        program(programs / "clang-tidy-14", 'for file; do :; done\nif [ "$file" = --version ]; then echo 14; exit; fi\n'
                                            'echo "$file" >>build/looked_at\n! grep finding "$file"\n')
        for note in ("looked_at", "installed"):
            (where / "build" / note).unlink(missing_ok=True)
        ran = subprocess.run([where / "tools" / "tidy", "--install", *words], cwd=where, capture_output=True, text=True,
                             env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"})
        self.code, self.out, self.err = ran.returncode, ran.stdout, ran.stderr
        self.looked_at, self.installed = (
            sorted((where / "build" / note).read_text().split()) if (where / "build" / note).exists() else []
            for note in ("looked_at", "installed"))

    def had_nothing_to_do(self) -> bool:
        return self.code == 0 and self.out.endswith("tidy: nothing to look at\n") and self.looked_at + self.installed == []


@pytest.mark.parametrize("options", [(), ("--depth", "1")])
def test_a_fresh_clone_of_main_costs_nothing(upstream: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    ran = Ran(cloned(upstream, tmp_path / "clone", *options), "--product")
    assert ran.had_nothing_to_do()
    assert ran.out.count("\n") == 1


def head_alone(upstream: Path, where: Path) -> Path:
    """As a machine of CI checks it out: one commit, and no branch."""
    where.mkdir()
    git(where, "init", "--initial-branch", "other")
    git(where, "fetch", "--depth", "1", upstream.as_uri(), "main")
    git(where, "checkout", "--detach", "FETCH_HEAD")
    return configured(where)


def test_where_main_is_not_known_one_line_says_so(upstream: Path, tmp_path: Path) -> None:
    where = head_alone(upstream, tmp_path / "clone")
    ran = Ran(where, "--product")
    assert ran.had_nothing_to_do()
    assert ran.out.startswith("tidy: no commit in common with a branch main")
    assert ran.out.count("\n") == 2
    (where / "engine" / "one.cc").write_text("int changed;\n")
    assert Ran(where, "--product").looked_at == ["engine/one.cc"]


def test_files_without_a_repository_or_git_are_no_failure(upstream: Path, tmp_path: Path) -> None:
    where = head_alone(upstream, tmp_path / "clone")
    shutil.rmtree(where / ".git")
    assert Ran(where, "--product").had_nothing_to_do()
    ran = subprocess.run([sys.executable, where / "tools" / "tidy", "--install", "--product"], capture_output=True, text=True,
                         env={"PATH": str(where)})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("tidy: nothing to look at\n")


def test_what_a_branch_changed_is_looked_at_once(upstream: Path, tmp_path: Path) -> None:
    where = cloned(upstream, tmp_path / "clone")
    # main has gone on since.
    git(where, "checkout", "-b", "work", "main^")
    commit(where, "engine/one.cc", "int changed;\n")
    (where / "tests" / "engine" / "one_test.cc").write_text("int not_committed;\n")
    ran = Ran(where, "--product")
    assert (ran.code, ran.looked_at, ran.installed) == (0, ["engine/one.cc"], ["tidy"])
    assert Ran(where).looked_at == ["tests/engine/one_test.cc"]
    assert Ran(where).looked_at == []
    commit(where, "engine/one.cc", "int a_finding;\n")
    assert [Ran(where, "--product").code for _ in range(2)] == [1, 1]


def test_commits_on_main_that_origin_has_not_are_looked_at(upstream: Path, tmp_path: Path) -> None:
    where = cloned(upstream, tmp_path / "clone")
    commit(where, "engine/one.cc", "int changed;\n")
    assert Ran(where).looked_at == ["engine/one.cc"]


def test_since_a_commit(upstream: Path, tmp_path: Path) -> None:
    where = cloned(upstream, tmp_path / "clone")
    assert Ran(where, "--since", "HEAD^").looked_at == ["engine/two.cc"]
    ran = Ran(where, "--since", "no_such_commit")
    assert (ran.code, ran.looked_at) == (1, [])
    assert "--since no_such_commit" in ran.err


def test_all(upstream: Path, tmp_path: Path) -> None:
    where = cloned(upstream, tmp_path / "clone")
    assert Ran(where, "--product", "--all").looked_at == ["engine/one.cc", "engine/two.cc"]
    assert Ran(where, "--all").looked_at == ["tests/engine/one_test.cc"]
