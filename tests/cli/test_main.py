"""The command: help, verbs, and a user's mistake as one sentence."""

import linecache
import resource
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bevkit.checks import expect
from bevkit.cli.main import BENCHMARKS, VERBS, main

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [f"bevkit {verb}" for verb in VERBS if verb != "benchmark"]
PROGRAMS += [f"bevkit benchmark {verb}" for verb in BENCHMARKS]


class Truncated(Dataset):
    """Stands for a data set that meets a damaged file in a worker."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        expect("image", torch.zeros(3), "3 h w")


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Puts a verb `try` into the command that calls a function."""
    def put(action) -> None:
        module = ModuleType("bevkit.cli.try_")
        module.__doc__ = "bevkit try: tries something."
        module.add_arguments = lambda parser: setattr(parser, "epilog", "examples:\n  bevkit try")
        module.run = lambda args: action()
        monkeypatch.setitem(sys.modules, "bevkit.cli.try_", module)
        monkeypatch.setitem(VERBS, "try", ("bevkit.cli.try_", "try something"))
    return put


def in_package(source: str):
    """Compiles a function `action` as if it stood in a file of bevkit, so that its errors are bevkit's."""
    name = str(ROOT / "bevkit" / "cli" / "trial.py")
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict = {}
    exec(compile(source, name, "exec"), space)
    return space["action"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_verb_explains_itself_with_examples(program: str, capsys) -> None:
    with pytest.raises(SystemExit) as done:
        main([*program.split()[1:], "--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0 and f"usage: {program} " in text
    assert f"  {program}" in text.split("examples:")[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_twin_among_the_tools(verb: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "--help"])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "tools" / f"{verb.replace('-', '_')}.py"), run_name="__main__")
    assert done.value.code == 0 and f"bevkit {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_every_verb(words: list[str], capsys) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


def test_the_benchmarks_have_an_overview_of_their_own(capsys) -> None:
    assert main(["benchmark"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in BENCHMARKS)


def test_the_version_is_the_packages(capsys) -> None:
    import bevkit
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"bevkit {bevkit.__version__}\n"


def test_help_is_quick() -> None:
    def seconds() -> float:  # of the processor: another program on this machine does not count
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "bevkit", "--help"], cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize(("words", "sentence"), [
    (["trian"], 'bevkit has no verb "trian"; did you mean "train"?'),
    (["qqq"], 'bevkit has no verb "qqq"; `bevkit --help` lists them'),
    (["benchmark", "loadr"], 'bevkit benchmark has no verb "loadr"; did you mean "loader"?'),
])
def test_an_unknown_verb_names_the_nearest(words: list[str], sentence: str, capsys) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"{sentence}\n"


def test_a_wrong_argument_is_one_sentence(capsys) -> None:
    with pytest.raises(SystemExit) as done:
        main(["doctor", "--jsn", "x"])
    assert done.value.code == 2
    said = "unrecognized arguments: --jsn x; `bevkit doctor --help` shows how it is called\n"
    assert capsys.readouterr().err == said


def test_a_mistake_is_one_sentence_with_its_brackets(verb, capsys) -> None:
    verb(lambda: expect("images", torch.zeros(2, 3), "B N 3 h w"))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "images: expected shape [B N 3 h w], got [2, 3]\n"


def test_the_traceback_is_there_for_those_who_ask(verb) -> None:
    verb(lambda: expect("images", torch.zeros(2, 3), "B N 3 h w"))
    with pytest.raises(ValueError, match="expected shape"):
        main(["try", "--traceback"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_found_in_a_data_worker_is_the_same_sentence(verb, capsys, workers: int) -> None:
    verb(lambda: list(DataLoader(Truncated(), num_workers=workers)))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "image: expected shape [3 h w], got [3]\n"


def test_a_missing_file_is_a_mistake(verb, capsys) -> None:
    verb(in_package("def action():\n    open('/no/such/file')\n"))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "[Errno 2] No such file or directory: '/no/such/file'\n"


@pytest.mark.parametrize("source", [
    "def action():\n    int('x')\n",  # a ValueError that nobody meant
    "def action():\n    len(3)\n",
    "def action():\n    import json; json.loads('{')\n",  # raised elsewhere
    "def action():\n    assert False\n",
])
def test_a_surprise_keeps_its_traceback(verb, source: str) -> None:
    verb(in_package(source))
    with pytest.raises((ValueError, TypeError, AssertionError)):
        main(["try"])


def test_an_interrupt_says_so(verb, capsys) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt
    verb(interrupt)
    assert main(["try"]) == 130 and capsys.readouterr().err == "stopped\n"


def test_the_exit_code_is_the_verbs(verb) -> None:
    verb(lambda: 1)
    assert main(["try"]) == 1
    verb(lambda: None)
    assert main(["try"]) == 0
