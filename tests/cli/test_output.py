"""Tables, JSON files and help texts."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bevkit.cli.output import Parser, complain, examples, print_table, write_json


def test_numbers_of_any_kind_become_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "numbers.json"
    write_json(path, {"vpq": torch.tensor(33.5), "iou": np.float32(0.5), "bad": float("nan"), "per": torch.arange(3),
                      "path": Path("a/b"), 7: (1, None, True)})
    assert json.loads(path.read_text()) == {"vpq": 33.5, "iou": 0.5, "bad": None, "per": [0, 1, 2], "path": "a/b",
                                            "7": [1, None, True]}


def test_no_path_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(None, {"a": 1})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "numbers.json"
    write_json(path, {"a": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and [item.name for item in tmp_path.iterdir()] == ["numbers.json"]


def test_a_table_shows_shapes_and_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("sizes [B N]", ("what", "ms"), [("[200, 200]", 1.23456), ("none", None)])
    text = capsys.readouterr().out
    assert "sizes [B N]" in text and "[200, 200]" in text and "1.235" in text and " - " in text


def test_a_complaint_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    complain("word " * 100 + "[bold]")
    assert capsys.readouterr().err == "word " * 100 + "[bold]\n"


def test_help_keeps_the_lines_of_its_examples(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("bevkit thing", "bevkit thing: does things.")
    parser.epilog = examples("bevkit thing a  # one", "bevkit thing b --json FILE")
    parser.print_help()
    text = capsys.readouterr().out
    assert text.rstrip().endswith("examples:\n  bevkit thing a  # one\n  bevkit thing b --json FILE")
    assert "\ndoes things.\n" in text
