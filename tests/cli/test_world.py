"""`bevkit world`: its arguments, and one very small world."""

import argparse
import json
from pathlib import Path

import pytest

from bevkit.cli import world
from bevkit.cli.main import main


def test_sizes_are_width_by_height() -> None:
    assert world.image_size("400x225") == (400, 225)


@pytest.mark.parametrize("text", ["400", "400x", "x225", "400x0", "-4x3", "4.0x3", "400,225", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected WIDTHxHEIGHT in pixels such as 400x225"):
        world.image_size(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "ten"])
def test_what_is_no_count_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["world", "out", f"--scenes={text}"])
    assert done.value.code == 2 and "expected a whole number of at least 1" in capsys.readouterr().err


def test_a_small_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = tmp_path / "numbers.json"
    assert main(["world", str(tmp_path / "world"), "--scenes", "1", "--frames", "1", "--image-size", "64x36",
                 "--workers", "1", "--json", str(numbers)]) == 0
    assert (tmp_path / "world" / "v1.0-mini" / "sample.json").is_file()
    assert json.loads(numbers.read_text())["scenes"] == 1
