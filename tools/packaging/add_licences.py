#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the licences of the Debian libraries that a repaired wheel brings along into it: add_licences.py WHEEL.

auditwheel names a library libNAME-HASH.so.N; the Debian package that has libNAME.so.N has its copyright file."""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def packages_of(libraries: list[str]) -> set[str]:
    """The installed Debian packages with these libraries, {"libcurl4", ...}."""
    files: dict[str, str] = {}  # each way to write where it is -> the library
    for library in libraries:
        # "-062bb940" of libldap-2-062bb940.5.so.0.1.8; those of alternatives lead elsewhere.
        name = re.sub(r"-[0-9a-f]{8}(?=\.)", "", library)
        for path in glob.glob(f"/usr/lib/*/{name}") + glob.glob(f"/usr/lib/*/*/{name}"):
            real = str(Path(path).resolve())
            for way in (path, real, path.removeprefix("/usr"), real.removeprefix("/usr")):
                files[way] = library
    said = subprocess.run(["dpkg", "-S", *files], capture_output=True, text=True).stdout
    found = {}  # library -> package
    for line in said.splitlines():
        package, _, path = line.partition(": ")
        if path in files:
            found[files[path]] = package.split(":")[0]
    unknown = [library for library in libraries if library not in found]
    if unknown:
        sys.exit(f"add_licences: no Debian package has {', '.join(unknown)}, so nobody knows the licence")
    return set(found.values())


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "wheel", "unpack", "-d", folder, wheel], check=True, stdout=subprocess.DEVNULL)
        (tree,) = Path(folder).iterdir()
        (info,) = tree.glob("*.dist-info")
        libraries = sorted(path.name for path in tree.glob("*.libs/*.so*"))
        if not libraries:
            sys.exit(f"add_licences: {wheel.name} brings no library along: was it repaired?")
        to = info / "licenses"
        to.mkdir(exist_ok=True)
        for package in sorted(packages_of(libraries)):
            shutil.copy(f"/usr/share/doc/{package}/copyright", to / f"{package}.copyright")
        # FAISS and CLI11 are in the command itself, and so are headers alone.
        for package in ("libfaiss-dev", "libcli11-dev", "libxxhash-dev"):
            shutil.copy(f"/usr/share/doc/{package}/copyright", to / f"{package}.copyright")
        out = Path(folder) / "packed"
        out.mkdir()
        subprocess.run([sys.executable, "-m", "wheel", "pack", "-d", out, tree], check=True, stdout=subprocess.DEVNULL)
        (packed,) = out.iterdir()
        if packed.name != wheel.name:
            sys.exit(f"add_licences: expected {wheel.name}, got {packed.name}")
        shutil.move(packed, wheel)
        print(f"{wheel.name}: {len(libraries)} libraries, {len(list(to.iterdir()))} licences")


if __name__ == "__main__":
    main()
