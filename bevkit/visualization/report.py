"""One self-contained HTML page that shows what a model does: numbers, scenes in motion, curves, export, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bevkit.files import write_atomically
from bevkit.visualization.charts import last, line_chart
from bevkit.visualization.paint import Picture, data_uri

SCENES_NOTE = ("What the cameras see, with the true boxes projected through the rig, and the map from above: forward "
               "is up, left is left, rings are metres. An object keeps its colour through time; a predicted object has "
               "the colour of the true object that it overlaps most.")


@dataclass(frozen=True)
class Card:
    """One number that a reader should remember; ``strong`` marks the main one."""

    label: str
    value: str
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class SceneFigure:
    """One scene in motion. All pictures of a list have one size.

    Attributes:
        name: heading.
        camera_frames: the joined camera views, one a step of the animation, or one that stays; may be empty.
        bev_frames: (truth, prediction) pictures, one pair a step.
        times: what the slider says at each step, such as ``"+0.5 s"``; numbers when empty.
        note: a sentence under the heading.
        strip: one still picture below, such as the whole horizon in a row.
        scores: numbers of this scene by name.
        seconds: how long the animation stays on a step.
        labels: what the two BEV pictures are called.
    """

    name: str
    camera_frames: Sequence[Picture] = ()
    bev_frames: Sequence[tuple[Picture, Picture]] = ()
    times: Sequence[str] = ()
    note: str = ""
    strip: Picture | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.6
    labels: tuple[str, str] = ("Truth", "Prediction")


@dataclass(frozen=True)
class Report:
    """What the page says; every part but the title may be left out.

    Attributes:
        title: heading; ``subtitle`` one sentence below.
        cards: the summary in a few numbers.
        scenes: what the model sees and foresees; ``scenes_note`` says how to read them.
        metrics: rows of one table, column name -> value; the columns are those of all rows in order of appearance.
        metrics_note: how the metrics were counted.
        curves: name -> [(step, value)].
        provenance: paragraphs on where the weights come from.
        export: nested dicts and lists of plain values (the export report).
        commands: command lines that give this result.
        environment: name -> version or value.
    """

    title: str
    subtitle: str = ""
    cards: Sequence[Card] = ()
    scenes: Sequence[SceneFigure] = ()
    scenes_note: str = SCENES_NOTE
    metrics: Sequence[Mapping[str, Any]] = ()
    metrics_note: str = ""
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    provenance: Sequence[str] | str = ()
    export: Mapping[str, Any] | None = None
    commands: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the page; without ``columns`` it is a list of names and values. ``numeric`` columns align right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]


def say(value: Any) -> str:
    """Writes a plain value for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != value or abs(value) == float("inf"):
            return str(value)
        if value and (abs(value) < 1e-3 or abs(value) >= 1e7):
            return f"{value:.2e}"
        return f"{value:,.4g}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10000 else str(value)
    if isinstance(value, (list, tuple)):
        return " × ".join(map(str, value)) if value and all(isinstance(item, int) for item in value) \
            else ", ".join(map(say, value)) or "–"
    return str(value)


def say_column(values: Sequence[Any]) -> list[str]:
    """Writes the numbers of a column with the same decimals, where that shows all of them."""
    sizes = [abs(value) for value in values if isinstance(value, float) and value]
    if not sizes or min(sizes) < 1e-3 or max(sizes) >= 1e7:
        return [say(value) for value in values]
    decimals = 4 if max(sizes) <= 1.5 else 2 if max(sizes) < 1000 else 1
    return [say(None) if value is None else f"{value:,.{decimals}f}" for value in values]


def table_of(title: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """Makes a table of records, whose keys are its columns in order of appearance."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    numeric = [any(_is_number(record.get(key)) for record in records)
               and all(_is_number(record.get(key)) or record.get(key) is None for record in records) for key in columns]
    cells = [say_column([record.get(key) for record in records]) if right else [say(record.get(key))
                                                                               for record in records]
             for key, right in zip(columns, numeric, strict=True)]
    return Table(title, [name.replace("_", " ") for name in columns], [list(line) for line in zip(*cells, strict=True)],
                 numeric)


def tables_of(value: Mapping[str, Any], title: str = "") -> list[Table]:
    """Lays nested plain values out as tables: plain ones as a list, records as rows, deeper ones with their own title.

    >>> [table.title for table in tables_of({"file": "a.onnx", "outputs": [{"name": "flow", "error": 1e-6}]})]
    ['', 'outputs']
    """
    plain = {key: item for key, item in value.items() if not _is_nested(item)}
    found = [Table(title, [], [[str(key).replace("_", " "), say(item)] for key, item in plain.items()], [False, False])]
    for key, item in value.items():
        name = f"{title} · {key}" if title else str(key)
        name = name.replace("_", " ")
        if not _is_nested(item):
            continue
        if isinstance(item, Mapping):
            flat = all(isinstance(part, Mapping) and not any(map(_is_nested, part.values())) for part in item.values())
            found += [table_of(name, [{"name": str(part), **item[part]} for part in item])] if flat \
                else tables_of(item, name)
        elif all(isinstance(part, Mapping) for part in item):
            found.append(table_of(name, item))
        else:
            lines = [[str(number), say(part)] for number, part in enumerate(item, 1)]
            found.append(Table(name, [], lines, [True, False]))
    return [table for table in found if table.rows]


def _is_nested(value: Any) -> bool:
    return (isinstance(value, Mapping) and bool(value)) \
        or (isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def render(report: Report) -> str:
    """Returns the page: HTML with its style, script, charts and pictures inside, without any reference outward."""
    environment = Environment(loader=PackageLoader("bevkit.visualization"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(say=say, photo=lambda image: data_uri(image, True),
                               drawing=lambda image: data_uri(image, False))
    charts = [dict(name=name, svg=Markup(line_chart(name, points)), last=last(points))
              for name, points in report.curves.items() if points]
    return environment.get_template("report.html.j2").render(
        report=report, charts=charts,
        provenance=[report.provenance] if isinstance(report.provenance, str) else report.provenance,
        metrics=table_of("", report.metrics) if report.metrics else None,
        export=tables_of(report.export) if report.export else [],
        environment=tables_of(report.environment) if report.environment else [])


def write_report(path: str | Path, report: Report) -> Path:
    """Writes the page to a file; a reader sees the old file or the whole new one."""
    return write_atomically(path, render(report).encode())
