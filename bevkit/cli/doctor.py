"""bevkit doctor: says what this machine has, what is missing, and the command that gets it.

The exit code is 0 when everything that training and testing need is there and fits together, else 1.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
from importlib import metadata
from typing import Any

from rich.text import Text

from bevkit.cli.output import add_json_argument, complain, console, examples, print_table, write_json

# (what it is called, its distributions, the first that is there counts; what needs it; how to get it)
PACKAGES = (
    ("torch", ("torch",), "core", 'pip install "torch>=2.11"'),
    ("torchvision", ("torchvision",), "core", "pip install torchvision"),
    ("timm", ("timm",), "core", "pip install timm"),
    ("mmengine", ("mmengine", "mmengine-lite"), "core", "pip install mmengine"),
    ("nuscenes-devkit", ("nuscenes-devkit",), "core", "pip install nuscenes-devkit"),
    ("numpy", ("numpy",), "core", 'pip install "numpy<2"'),
    ("opencv", ("opencv-python-headless", "opencv-python"), "core", 'pip install "opencv-python-headless<4.12"'),
    ("onnx", ("onnx",), "export", "pip install onnx"),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "export", "pip install onnxruntime"),
    ("onnxscript", ("onnxscript",), "export", "pip install onnxscript"),
    ("TensorRT for RTX", ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx"),
     "export", "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings"),
    ("TensorRT", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"), "engines",
     "part of JetPack; else pip install tensorrt"),
    ("modelopt", ("nvidia-modelopt",), "quantization", "pip install nvidia-modelopt"),
    ("mmdet3d", ("mmdet3d",), "optional", "see the extra mmdet3d in setup.py; mmcv compiles"),
)
# Modules that are installed often enough without being able to load.
IMPORTS = (("torch", "torch", 'pip install --force-reinstall "torch>=2.11" torchvision'),
           ("torchvision", "torchvision", "pip install --force-reinstall torchvision"),
           ("cv2", "opencv", "pip install --force-reinstall --no-deps opencv-python-headless"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = examples("bevkit doctor", "bevkit doctor --json doctor.json")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    packages, devices = package_rows(), find_devices()
    problems = find_problems(packages)
    show(packages, devices, problems)
    write_json(args.json, {"python": platform.python_version(), "platform": platform.platform(),
                           "packages": packages, "devices": devices, "problems": problems})
    return 1 if problems else 0


def version_of(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def package_rows() -> list[dict[str, Any]]:
    """Looks every package up without importing it."""
    return [{"name": name, "version": version_of(distributions), "for": purpose, "get": remedy}
            for name, distributions, purpose, remedy in PACKAGES]


def find_devices() -> list[dict[str, Any]]:
    """Lists the processor and every CUDA device."""
    from bevkit.cli.benchmarks import processor

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    devices = [{"name": processor(), "kind": f"cpu, {os.cpu_count()} cores", "memory_gb": round(memory / 2**30, 1)}]
    try:
        import torch
    except Exception:  # named by find_problems
        return devices
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices.append({"name": about.name, "kind": f"cuda:{index}, sm_{about.major}{about.minor}",
                        "memory_gb": round(about.total_memory / 2**30, 1)})
    return devices


def find_problems(packages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Finds what would stop training or testing: missing core packages, modules that do not load, unfitting pairs."""
    problems = [{"problem": f"{row['name']} is missing", "get": row["get"]} for row in packages
                if row["for"] == "core" and row["version"] is None]
    installed = {row["name"] for row in packages if row["version"] is not None}
    for module, name, remedy in IMPORTS:
        if name in installed:
            try:
                importlib.import_module(module)
            except Exception as error:  # a broken binary raises anything
                problems.append({"problem": f"{name} is installed but does not load: {error}", "get": remedy})
    pair = unfitting_pair(version_of(("torch",)), requirements_of("torchvision"))
    if pair:
        problems.append(pair)
    torch_version = version_of(("torch",))
    if torch_version and release(torch_version) < (2, 11):
        problems.append({"problem": f"torch {torch_version} is older than 2.11, the first that is supported",
                         "get": 'pip install "torch>=2.11" torchvision'})
    return problems


def requirements_of(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []


def release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


def unfitting_pair(torch_version: str | None, torchvision_requires: list[str]) -> dict[str, str] | None:
    """Compares the installed torch with the one that torchvision says it was compiled against."""
    pins = [match[1] for text in torchvision_requires if (match := re.match(r"torch\s*\(?==\s*([\d.]+)", text))]
    if torch_version is None or not pins or release(torch_version) == release(pins[0]):
        return None
    return {"problem": f"torchvision was compiled against torch {pins[0]}, but torch {torch_version} is installed",
            "get": f"pip install torch=={pins[0]}, or the torchvision of your torch"}


def show(packages: list[dict[str, Any]], devices: list[dict[str, Any]], problems: list[dict[str, str]]) -> None:
    console.print(f"\nPython {platform.python_version()} on {platform.platform()}\n", highlight=False)
    rows = [(row["name"], Text(row["version"], style="green") if row["version"] else
             Text("missing", style="red" if row["for"] == "core" else "yellow"), row["for"],
             "" if row["version"] else row["get"]) for row in packages]
    print_table("packages", ("package", "version", "for", "how to get it"), rows)
    print_table("devices", ("device", "kind", "memory GB"),
                [(row["name"], row["kind"], row["memory_gb"]) for row in devices])
    for problem in problems:
        complain(f"{problem['problem']}; {problem['get']}")
    if not problems:
        console.print("[green]Everything that training and testing need is here.[/]\n")
