"""`bevkit export` from the command line to the files on disk."""

import json
from pathlib import Path

import pytest

from bevkit.cli.main import main

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "tiny" / "powerbev.py"
SMALLER = "model.head.num_features=(2, 4)"


def test_export_without_data_writes_all_four_files(tmp_path, capsys):
    code = main(["export", str(CONFIG), "--out", str(tmp_path / "out"), "--precision", "fp16", "--no-tensorrt",
                 "--dataroot", str(tmp_path), "--json", str(tmp_path / "numbers.json"), "--set", SMALLER])
    assert code == 0, capsys.readouterr()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "manifest.json", "report.json",
                                                                    "report.md"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["passed"] and report["precision"] == "fp16" and report["tensorrt"]["status"] == "left out"
    assert "noise of 6 cameras" in report["source"]["frames"] and str(tmp_path) in report["source"]["frames"]
    assert json.loads((tmp_path / "numbers.json").read_text())["parity"] == report["parity"]


@pytest.mark.parametrize("words, sentence", [
    (["--cameras", "0"], "at least 1"), (["--precision", "int4"], "invalid choice")])
def test_mistakes_are_one_sentence(tmp_path, capsys, words, sentence):
    try:
        code = main(["export", str(CONFIG), "--out", str(tmp_path), *words])
    except SystemExit as error:
        code = error.code
    shown = capsys.readouterr()
    assert code == 2 and sentence in shown.err and "Traceback" not in shown.err
