# SPDX-License-Identifier: Apache-2.0
"""Conventions of command lines that no other test shows: help, and that nothing is told to anybody."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from conftest import COMMAND

# Writes down whom a program calls: each connection and each name that is looked up.
LISTENER = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void note(const char* what, const char* whom) {
  FILE* file = fopen(getenv("CALLS"), "a");
  if (file == NULL) return;
  fprintf(file, "%s %s\n", what, whom);
  fclose(file);
}

int connect(int fd, const struct sockaddr* to, socklen_t size) {
  char text[INET6_ADDRSTRLEN] = "";
  if (to->sa_family == AF_INET) inet_ntop(AF_INET, &((const struct sockaddr_in*)to)->sin_addr, text, sizeof(text));
  if (to->sa_family == AF_INET6) inet_ntop(AF_INET6, &((const struct sockaddr_in6*)to)->sin6_addr, text, sizeof(text));
  if (text[0] != '\0') note("connect", text);
  return ((int (*)(int, const struct sockaddr*, socklen_t))dlsym(RTLD_NEXT, "connect"))(fd, to, size);
}

int getaddrinfo(const char* name, const char* port, const struct addrinfo* hints, struct addrinfo** found) {
  if (name != NULL) note("look up", name);
  return ((int (*)(const char*, const char*, const struct addrinfo*, struct addrinfo**))dlsym(RTLD_NEXT, "getaddrinfo"))(
      name, port, hints, found);
}
"""


def test_nobody_is_told_of_anything(database: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler is not None
    (tmp_path / "listener.c").write_text(LISTENER)
    library = tmp_path / "listener.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "listener.c", "-ldl"], check=True)
    calls = tmp_path / "calls"
    env = {**os.environ, "LD_PRELOAD": str(library), "CALLS": str(calls)}
    job = str(tmp_path / "job")
    source = ["--system", "agentloop", "--db", str(database), "--embedder", "builtin", "--job", job]
    index = str(tmp_path / "messages.faiss")
    for words in (["plan", *source], ["run", *source, "--target", f"faiss:{index}", "--accept-rejects"], ["status", job],
                  ["verify", job], ["search", "--index", index, "trip"], ["report", job, "--to", "report.html"], ["doctor"],
                  ["backup", "--source", f"sqlite:{database}", "--to", "saved"], ["restore", "saved", "--yes"],
                  ["rollback", job, "--yes", "--force"], ["config", "show"], ["paths"], ["systems"], ["version"]):
        ran = subprocess.run([COMMAND, *words], capture_output=True, text=True, env=env)
        assert ran.returncode in (0, 3), (words, ran.stderr)
    called = set(calls.read_text().splitlines())
    called.discard(f"look up {socket.gethostname()}")  # this machine asks for its own name
    # The built-in embedder is a server of the program itself: that it is seen shows that the listener listens.
    assert called and called <= {"connect 127.0.0.1", "look up 127.0.0.1"}, called


def test_no_color_is_taken_everywhere_and_changes_nothing(database: Path, tmp_path: Path) -> None:
    script = subprocess.run([COMMAND, "completion", "man"], capture_output=True, text=True, check=True).stdout
    commands = [line.removeprefix(".SS ").replace("\\-", "-").strip('"') for line in script.splitlines()
                if line.startswith(".SS ")]
    for command in commands:
        said = subprocess.run([COMMAND, "help", *command.split()], capture_output=True, text=True, check=True).stdout
        assert "--no-color" in said, command
        assert "(Env:REEMBED_NO_COLOR)" in said, command
    for words in (["systems"], ["paths"], ["plan", "--system", "agentloop", "--db", str(database)]):
        plain, coloured = (subprocess.run([COMMAND, *words, *more], capture_output=True, text=True)
                           for more in (["--no-color"], []))
        assert (plain.returncode, plain.stdout) == (0, coloured.stdout), plain.stderr
        assert "\x1b" not in coloured.stdout + coloured.stderr


def test_every_help_has_examples() -> None:
    script = subprocess.run([COMMAND, "completion", "man"], capture_output=True, text=True, check=True).stdout
    commands = [line.removeprefix(".SS ").replace("\\-", "-").strip('"') for line in script.splitlines()
                if line.startswith(".SS ")]
    assert {"run", "plan", "index build", "config show"} <= set(commands), commands
    for command in commands:
        if command in ("help", "version", "paths"):  # nothing to choose
            continue
        said = subprocess.run([COMMAND, "help", *command.split()], capture_output=True, text=True, check=True).stdout
        assert "Examples:\n  " in said, command
        for example in re.findall(r"(?m)^  (reembed [^|\n]*)", said.split("Examples:\n")[1]):
            assert example.startswith(f"reembed {command}") or command in ("completion",), (command, example)


def test_restore_wants_the_name_of_what_it_replaces(database: Path, tmp_path: Path) -> None:
    saved = subprocess.run([COMMAND, "backup", "--source", f"sqlite:{database}", "--to", "saved"], capture_output=True)
    assert saved.returncode == 0, saved.stderr

    def restore(typed: bytes, *more: str) -> tuple[int, bytes]:
        ours, theirs = os.openpty()
        running = subprocess.Popen([COMMAND, "restore", "saved", *more], stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        os.write(ours, typed)
        said = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
        os.close(ours)
        return running.wait(), said

    code, said = restore(b"y\n")
    assert code == 2 and b"To go on, type its name, memory.db:" in said and b"the answer was not memory.db" in said, said
    assert restore(b"memory.db\n")[0] == 0
    code, said = restore(b"", "--no-input")
    assert code == 2 and b"to go on, say --yes" in said
    # What replaces nothing wants a yes and no name.
    assert restore(b"y\n", "--db", str(tmp_path / "new.db"))[0] == 0 and (tmp_path / "new.db").exists()
