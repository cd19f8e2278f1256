# SPDX-License-Identifier: Apache-2.0
"""The completions in real shells: words are typed, the key is pressed, and the shell says what it would run."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import COMMAND

PATIENCE = 60.0  # seconds until a shell that says nothing is given up

# What is typed before the key -> what the line has then.
CASES = [
    ("rol", "rollback"),
    ("retry", "retry-rejects"),
    ("bench end", "bench endpoint"),
    ("bench tar", "bench target"),
    ("help veri", "help verify"),
    ("completion fi", "completion fish"),
    ("run --progr", "run --progress"),
    ("run --progress js", "run --progress json"),
    ("run --embedder mis", "run --embedder mistral"),
    ("run --system agent", "run --system agentloop"),
    ("run --db mem", "run --db memory.db"),
    ("run --source sql", "run --source sqlite:"),
    ("bench endpoint --sec", "bench endpoint --seconds"),
    ("verify --rep", "verify --repair"),
    ("verify job-o", "verify job-of-mine"),
    ("search --ef", "search --ef-search"),
]
# A word with = or : in it, which bash parts there.
PARTED = [
    ("run --progress=js", "run --progress=json"),
    ("run --source sqlite:mem", "run --source sqlite:memory.db"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "memory.db").touch()
    jobs = tmp_path / "state" / "reembed" / "jobs"
    (jobs / "agentloop-1234").mkdir(parents=True)
    (folder / "job-of-mine").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(COMMAND).parent}:{os.environ['PATH']}")
    return folder


class Shell:
    """An interactive shell on a terminal of its own."""

    # The completion asks the real command; what is entered is only shown.
    SHOW = 'reembed() { case "$2" in systems|jobs) command reembed "$@" ;; *) echo "LINE<$*>" ;; esac; }\n'

    def __init__(self, words: list[str], setup: str) -> None:
        program = shutil.which(words[0])
        assert program is not None, f"{words[0]} is not installed: tools/install-packages test"
        self.seen = ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="dumb", PS1="$ ", PROMPT="$ ", HISTFILE="")
            os.execv(program, words)
        self.enter(setup + self.SHOW + "echo READY-NOW\n", "\nREADY-NOW|^READY-NOW")

    def enter(self, keys: str, wanted: str) -> str:
        """Presses the keys and returns what `wanted` has matched."""
        os.write(self.terminal, keys.encode())
        end = time.monotonic() + PATIENCE
        while True:
            text = self.seen.replace("\r", "")
            found = re.search(wanted, text)
            if found:
                self.seen = text[found.end() :]
                return found.group(0)
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                pytest.fail(f"after {keys!r} the shell never said {wanted!r}, but {self.seen!r}")
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")

    def complete(self, words: str) -> str:
        line = self.enter(f"reembed {words}\t\n", r"LINE<[^>$*]*>")
        return line.removeprefix("LINE<").removesuffix(">").strip().rstrip("/")  # of a folder

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture
def bash(here: Path) -> Iterator[Shell]:
    (here / "completion").write_text(subprocess.run([COMMAND, "completion", "bash"], capture_output=True, text=True, check=True).stdout)
    shell = Shell(["bash", "--norc", "--noprofile", "-i"], "bind 'set bell-style none'; source ./completion\n")
    (here / "completion").unlink()
    yield shell
    shell.close()


@pytest.fixture
def zsh(here: Path, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_reembed").write_text(
        subprocess.run([COMMAND, "completion", "zsh"], capture_output=True, text=True, check=True).stdout
    )
    shell = Shell(
        ["zsh", "-f", "-i"],
        f"unsetopt zle_bracketed_paste beep; fpath=({tmp_path}/functions $fpath); autoload -U compinit; compinit -u -D\n",
    )
    yield shell
    shell.close()


def fish(line: str) -> list[str]:
    """What fish would offer for this line."""
    program = shutil.which("fish")
    assert program is not None, "fish is not installed: tools/install-packages test"
    script = f'source (reembed completion fish | psub); complete -C "{line}"'
    said = subprocess.run([program, "--no-config", "-c", script], capture_output=True, text=True, check=True).stdout
    return [offer.split("\t")[0] for offer in said.splitlines()]


def test_bash(bash: Shell) -> None:
    assert {words: bash.complete(words) for words, _ in CASES + PARTED} == dict(CASES + PARTED)


def test_bash_jobs(bash: Shell, tmp_path: Path) -> None:
    jobs = tmp_path / "state" / "reembed" / "jobs"
    assert bash.complete(f"status {jobs}/agent") in (f"status {jobs}/agentloop-1234", f"status {jobs}/agentloop-1234/")


def test_bash_leaves_other_commands_alone(bash: Shell) -> None:
    bash.complete("rol")
    bash.enter('[[ $COMP_WORDBREAKS == *:* && $COMP_WORDBREAKS == *=* ]] && echo STILL""THERE\n', "STILLTHERE")


def test_zsh(zsh: Shell) -> None:
    assert {words: zsh.complete(words) for words, _ in CASES + PARTED} == {
        words: line for words, line in CASES + PARTED
    }


def test_fish(here: Path) -> None:
    for words, line in CASES + PARTED:
        last = line.split()[-1]
        offers = fish(f"reembed {words}")
        assert last in offers or last + "/" in offers, (words, offers)


def test_fish_offers_nothing_of_another_command(here: Path) -> None:
    assert "--repair" not in fish("reembed run --rep")
    assert "rollback" not in fish("reembed run rol")
    assert any(offer.endswith("agentloop-1234") for offer in fish("reembed status "))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_command_and_flag_is_there(shell: str) -> None:
    script = subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True, check=True).stdout
    helped = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z-]+) +\S", helped.split("Subcommands:")[1], re.MULTILINE)
    assert len(commands) > 12
    for command in commands:
        assert command in script
        page = subprocess.run([COMMAND, command, "--help"], capture_output=True, text=True, check=True).stdout
        for flag in re.findall(r"^  (?:-\w,)?--([a-z-]+)", page, re.MULTILINE):
            assert (f"-l {flag} " if shell == "fish" else f"--{flag}") in script, (command, flag)


def test_man_page(tmp_path: Path) -> None:
    page = subprocess.run([COMMAND, "completion", "man"], capture_output=True, text=True, check=True).stdout
    man = shutil.which("man")
    assert man is not None, "man is not installed: tools/install-packages test"
    (tmp_path / "reembed.1").write_text(page)
    shown = subprocess.run([man, "--warnings", "-E", "UTF-8", "-l", tmp_path / "reembed.1"], capture_output=True, text=True,
                           env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""})
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    for word in ("NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "--max-spend", "retry-rejects", "bench endpoint"):
        assert word in shown.stdout, word
    assert shown.stdout.count("--max-spend") < 6  # plan has the flags of run, said once
