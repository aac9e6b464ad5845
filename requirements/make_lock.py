"""Writes requirements/lock.txt: one exact version of every package, for every supported Python.

Usage: python requirements/make_lock.py python3.10 python3.11 python3.12

Each interpreter's pip resolves requirements/direct.txt without installing anything. Where they differ, the newest
Python's answer stands for all that can use it and the others get an environment marker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = """\
# Exact versions for CPython 3.10, 3.11 and 3.12, made by `make lock` from requirements/direct.txt. Do not edit.
"""
# CUDA libraries and compilers that exist for Linux only; torch names them with this same marker.
LINUX_ONLY = ("nvidia-", "cuda-", "triton", "tensorrt-rtx-")


def resolve(python: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Asks an interpreter's pip what it would install: (major, minor) and {package: version}."""
    code = "import sys; print(*sys.version_info[:2])"
    major, minor = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
                        "--only-binary=:all:", "--report", str(report), "-r", str(HERE / "direct.txt")], check=True)
        packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return (int(major), int(minor)), {item["name"].lower().replace("_", "-"): item["version"] for item in packages}


def lock(answers: dict[tuple[int, int], dict[str, str]]) -> list[str]:
    """Merges the answers of several Pythons to requirement lines."""
    pythons = sorted(answers)
    lines = []
    for name in sorted(set().union(*answers.values())):
        system = 'platform_system == "Linux"' if name.startswith(LINUX_ONLY) else ""
        wanted = {python: answers[python].get(name) for python in pythons}
        groups: dict[str, list[tuple[int, int]]] = {}
        for python, version in wanted.items():
            if version is not None:
                groups.setdefault(version, []).append(python)
        for version, members in groups.items():
            markers = [system] if system else []
            if members != pythons:
                low, high = (".".join(map(str, python)) for python in (members[0], members[-1]))
                if low == high:
                    markers.append(f'python_version == "{low}"')
                elif members[0] != pythons[0]:
                    markers.append(f'python_version >= "{low}"')
                else:
                    markers.append(f'python_version <= "{high}"')
            lines.append(f"{name}=={version}" + (f' ; {" and ".join(markers)}' if markers else ""))
    return lines


def main(pythons: list[str]) -> None:
    if not pythons:
        raise SystemExit("usage: python requirements/make_lock.py python3.10 python3.11 python3.12")
    answers = dict(resolve(python) for python in pythons)
    (HERE / "lock.txt").write_text(HEADER + "\n".join(lock(answers)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
