"""How every verb speaks: help in colour, tables, one red sentence for a mistake, numbers as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from bevkit.files import write_atomically

_THEME = Theme({"help.heading": "bold", "help.option": "cyan", "help.metavar": "green", "help.example": "dim"})
console = Console(theme=_THEME)
errors = Console(stderr=True)


class _HelpColours(RegexHighlighter):
    base_style = "help."
    highlights = [r"(?m)^(?P<heading>[a-zA-Z][a-z ]*:)(?=\s|$)", r"(?<![\w-])(?P<option>--?[a-z][\w-]*)",
                  r"(?<=[ \[])(?P<metavar>[A-Z][A-Z_]+)(?=[\s,\]]|$)", r"(?m)^  (?P<example>(bevkit|torchrun) .*)$"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose help is coloured and keeps the line breaks of its examples.

    A verb sets ``parser.epilog = examples("bevkit world data/world --scenes 10", ..)``.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description.removeprefix(f"{prog}: "), allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def print_help(self, file: Any = None) -> None:
        out = console if file is None else Console(file=file, theme=_THEME)
        text = Text(self.format_help())
        _HelpColours().highlight(text)
        out.print(text, soft_wrap=True)

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; `{self.prog} --help` shows how it is called")
        raise SystemExit(2)


def examples(*calls: str) -> str:
    """Lays out example calls, as they are typed, for the end of a verb's help."""
    return "examples:\n" + "\n".join(f"  {call.strip()}" for call in calls)


def complain(sentence: str) -> None:
    """Prints one red sentence to stderr; brackets in it are shapes, not markup."""
    errors.print(Text(sentence, style="red"), soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table: text to the left, numbers to the right."""
    rows = [list(row) for row in rows]
    table = Table(title=Text(title, style="bold"), title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json FILE`` to a verb that reports numbers."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE, as JSON")


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--set KEY=VALUE ..`` to a verb that reads a config; it may be given several times."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="change options of the config, such as model.head.future=4")


def write_json(path: Path | str | None, numbers: Any) -> None:
    """Writes numbers as JSON, whole or not at all: a reader never meets half a file. ``None`` as path writes nothing.

    Tensors and arrays become numbers or lists, NaN and infinities become null.
    """
    if path is None:
        return
    path = Path(path)
    write_atomically(path, json.dumps(_plain(numbers), indent=2, allow_nan=False) + "\n")
    print(f"numbers in {path}", file=sys.stderr)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # tensors, arrays and their scalars
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
