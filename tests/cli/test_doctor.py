"""The doctor: what it finds, what it says is wrong, and how to mend it."""

import json
from pathlib import Path

import pytest

from bevkit.cli import doctor
from bevkit.cli.main import main


def test_it_finds_this_machine_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    versions = {row["name"]: row["version"] for row in found["packages"]}
    assert versions["torch"] and versions["mmengine"] and found["problems"] == []
    assert found["devices"][0]["kind"].startswith("cpu")
    assert "torch" in capsys.readouterr().out


def test_a_missing_core_package_is_a_problem(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda names: None if "timm" in names else real(names))
    assert main(["doctor"]) == 1
    assert "timm is missing; pip install timm" in capsys.readouterr().err


def test_a_missing_extra_is_no_problem() -> None:
    rows = [{**row, "version": None} if row["for"] != "core" else row for row in doctor.package_rows()]
    assert doctor.find_problems(rows) == []


def test_a_module_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    problem, = doctor.find_problems(doctor.package_rows())
    assert "opencv is installed but does not load: libGL.so.1" in problem["problem"] and "headless" in problem["get"]


@pytest.mark.parametrize(("torch", "requires", "fits"), [
    ("2.12.1", ["numpy", "torch (==2.12.1)"], True),
    ("2.12.1+cpu", ["torch==2.12.1"], True),
    ("2.13.0", ["torch==2.12.1"], False),
    ("2.13.0", ["torch>=2"], True),
    (None, ["torch==2.12.1"], True),
])
def test_torch_and_torchvision_are_a_pair(torch: str | None, requires: list[str], fits: bool) -> None:
    problem = doctor.unfitting_pair(torch, requires)
    assert (problem is None) is fits
    if problem:
        assert problem["get"].startswith("pip install torch==2.12.1")


def test_an_old_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda names: "2.9.1")
    monkeypatch.setattr(doctor, "requirements_of", lambda name: [])
    problem, = doctor.find_problems(doctor.package_rows())
    assert problem["problem"] == "torch 2.9.1 is older than 2.11, the first that is supported"
