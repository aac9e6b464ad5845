"""Imports point down only, and outside packages come in at their own doors (docs/architecture.md)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bevkit"

# What each part of the package may import of it; itself it always may.
_TOOLS = {"", "checks", "files", "registry", "suggest"}
_NOUNS = _TOOLS | {"geometry", "structures"}
ALLOWED = {
    "": {"cli"},  # bevkit/__init__.py and bevkit/__main__.py
    "checks": set(), "files": set(), "suggest": set(), "registry": set(),
    "geometry": {"checks"},
    "structures": {"checks", "geometry"},
    "ops": _NOUNS,
    "datasets": _NOUNS,
    "metrics": _NOUNS,
    "visualization": _NOUNS,
    "models": _NOUNS | {"ops"},
    "importers": _NOUNS | {"models"},
    "compression": _NOUNS | {"ops", "models"},
    "engine": _NOUNS | {"ops", "datasets", "metrics", "models"},
    "interop": _NOUNS | {"models"},
    "export": _NOUNS | {"ops", "models", "compression"},
    "cli": _NOUNS | {"ops", "datasets", "metrics", "visualization", "models", "importers", "compression", "engine",
                     "export", "interop"},
}
# Parts of a model that only `architectures` joins, through the registry.
STRANGERS = ("view_transformers", "temporal", "heads", "future", "auxiliaries")
# Outside packages and the files or folders that may import them.
DOORS = {
    "nuscenes": ("datasets/nuscenes_tables.py", "metrics/detection.py", "metrics/tracking.py"),
    "timm": ("models/image/timm_backbone.py",),
    "matplotlib": ("visualization/",),
    "onnx": ("export/",), "onnxruntime": ("export/",), "onnxscript": ("export/",),
    "tensorrt": ("export/",), "tensorrt_rtx": ("export/",), "tensorrt_rtx_bindings": ("export/",),
    "mmcv": ("interop/mmdet3d.py",), "mmdet": ("interop/mmdet3d.py",), "mmdet3d": ("interop/mmdet3d.py",),
}


def imports_of(path: Path, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yields line and full name of everything a file imports, wherever in the file; `package` is its folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from ((node.lineno, f"{module}.{item.name}") for item in node.names)


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(name: str) -> str:
    """Names the part of bevkit that a full import name such as ``bevkit.ops.bev_pool`` belongs to."""
    first = name.split(".")[1] if "." in name else "__init__"
    known = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
    return first if known and not first.startswith("__") else ""


def own_imports() -> Iterator[tuple[str, int, str, str]]:
    """Yields (file, line, part, imported name) of every import of bevkit by bevkit."""
    for path in files():
        relative = path.relative_to(ROOT)
        part = part_of(".".join(relative.with_suffix("").parts))
        for line, name in imports_of(path, relative.parent.parts):
            if name.split(".")[0] == "bevkit":
                yield str(relative), line, part, name


def test_imports_point_down() -> None:
    wrong = [f"{file}:{line} imports {name}" for file, line, part, name in own_imports()
             if part_of(name) not in ALLOWED[part] | {part, ""}]
    assert not wrong, "\n".join(wrong)


def test_every_part_is_placed() -> None:
    parts = {part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in files()}
    assert parts <= set(ALLOWED), f"say in ALLOWED what {parts - set(ALLOWED)} may import"


def test_parts_of_a_model_do_not_know_each_other() -> None:
    wrong = []
    for file, line, _, name in own_imports():
        here = [stranger for stranger in STRANGERS if f"models/{stranger}/" in file]
        there = [stranger for stranger in STRANGERS if f"{name}.".startswith(f"bevkit.models.{stranger}.")]
        if here and there and here != there:
            wrong.append(f"{file}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_outside_packages_come_in_at_their_doors() -> None:
    wrong = []
    for path in files():
        inside = path.relative_to(PACKAGE).as_posix()
        for line, name in imports_of(path, path.relative_to(ROOT).parent.parts):
            doors = DOORS.get(name.split(".")[0])
            if doors is not None and not inside.startswith(doors):
                wrong.append(f"bevkit/{inside}:{line} imports {name}, which belongs to {' or '.join(doors)}")
    assert not wrong, "\n".join(wrong)


def test_the_vehicle_needs_no_model_code() -> None:
    wrong = [f"{path.name}:{line} imports {name}" for path in sorted((ROOT / "deploy").rglob("*.py"))
             for line, name in imports_of(path, path.relative_to(ROOT).parent.parts)
             if name.split(".")[0] in ("bevkit", "torch", "torchvision", "mmengine")]
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str) -> set[str]:
    """Names the top-level modules that a fresh Python has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import bevkit", "import bevkit.cli.main"])
def test_the_command_starts_without_torch(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "mmengine", "numpy", "cv2", "timm", "nuscenes"}


def test_the_core_needs_no_openmmlab_detectors() -> None:
    loaded = loaded_by("import bevkit.models, bevkit.datasets, bevkit.metrics, bevkit.engine, bevkit.structures")
    assert not loaded & {"mmcv", "mmdet", "mmdet3d", "onnx", "onnxruntime", "tensorrt"}
