"""A synthetic data set comes into being in a folder, and survives being killed at any moment.

Order of events: `world.json` says what is being made; every scene writes its files, then its rows; the folder of tables
appears last, in one rename. Before that, nothing looks like a data set; after that, the data set is whole. A second run
with the same settings goes on where the first was stopped and writes the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .names import scene_names
from .record import write_file
from .tables import SCENE_TABLES, TABLES, shared_tables
from .workers import record_scenes

EDITION = 5  # raised whenever the same seed begins to draw something else


def make_world(
    out: str | os.PathLike,
    *,
    scenes: int = 10,
    seed: int = 0,
    image_size: tuple[int, int] = (400, 225),
    frames: int = 40,
    workers: int | None = None,
    version: str | None = None,
    progress: bool = True,
) -> Path:
    """Drives a recording car through synthetic towns and writes what it saw as a nuScenes data set.

    Args:
        out: folder of the data set (devkit: `dataroot`); made if it is not there.
        scenes: how many scenes; up to 10 become `v1.0-mini`, more `v1.0-trainval`, about one in five held out.
        seed: another seed, other towns. The same seed writes the same bytes, whatever the number of workers.
        image_size: width and height of the images, pixels.
        frames: keyframes of every scene, two a second.
        workers: processes; None takes one for every core.
        version: `v1.0-mini` or `v1.0-trainval`, or None to choose by the number of scenes.
        progress: draw a progress bar.

    Returns:
        The data set folder.

    Raises:
        ValueError: a setting makes no sense, or `out` already holds something else.
        RuntimeError: a worker failed.
    """
    out = Path(out)
    version, names = scene_names(_whole("scenes", scenes, 1), version)
    width, height = _image_size(image_size)
    recipe = {
        "edition": EDITION,
        "version": version,
        "scenes": names,
        "seed": _whole("seed", seed, 0),
        "image_size": [width, height],
        "frames": _whole("frames", frames, 1),
    }
    workers = _whole("workers", workers if workers is not None else os.cpu_count() or 1, 1)
    _claim(out, recipe)
    if not (out / version).is_dir():
        (out / ".scenes").mkdir(exist_ok=True)
        todo = [name for name in names if not (out / ".scenes" / f"{name}.json").exists()]
        with _bar(len(names) * frames, (len(names) - len(todo)) * frames, progress) as step:
            record_scenes(out, todo, recipe, workers, step)
        _write_tables(out, version, names)
    _tidy(out)
    return out


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"world: expected {name} to be a whole number from {least} on, got {value!r}.")
    return value


def _image_size(size: tuple[int, int]) -> tuple[int, int]:
    good = (
        isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(s, int) and 32 <= s <= 3200 for s in size)
    )
    if not good:
        raise ValueError(
            f"world: expected image_size (width, height) with 32 to 3200 pixels each, got {size!r}; "
            "nuScenes' own shape is 16:9, for instance (400, 225)."
        )
    return size[0], size[1]


def _claim(out: Path, recipe: dict) -> None:
    """Marks the folder as the place of this world, or refuses one that holds another."""
    note = out / "world.json"
    if note.exists():
        try:
            found = json.loads(note.read_text())
        except ValueError:
            found = {}
        if found != recipe:
            differing = [key for key in recipe if found.get(key) != recipe[key]]
            detail = "; ".join(
                f"{key}: expected {_short(recipe[key])}, got {_short(found.get(key))}" for key in differing
            )
            raise ValueError(f"world: {out} holds another world ({detail}). Choose another folder or delete this one.")
        return
    if (out / recipe["version"]).exists():
        raise ValueError(f"world: {out} holds a {recipe['version']} that was not made here. Choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_file(note, json.dumps(recipe, indent=1).encode())


def _short(value: object) -> str:
    return f"{len(value)} scenes" if isinstance(value, list) and len(value) != 2 else str(value)


def _write_tables(out: Path, version: str, names: list[str]) -> None:
    """Joins the scenes' rows and lets the folder of tables appear."""
    tables = {**{table: [] for table in TABLES}, **shared_tables()}
    for name in names:
        rows = json.loads((out / ".scenes" / f"{name}.json").read_text())
        for table in SCENE_TABLES:
            tables[table] += rows[table]
    draft = out / f".tables-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for table in TABLES:
        (draft / f"{table}.json").write_text(json.dumps(tables[table], indent=0))
    try:
        os.replace(draft, out / version)
    except OSError:
        if not (out / version).is_dir():  # else another run of the same world was faster
            raise


def _tidy(out: Path) -> None:
    """Removes what a finished world no longer needs, and what killed runs left behind."""
    for leftover in (out / ".scenes", *out.glob(".tables-*")):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in ("", "samples/*/", "maps/"):
        for part in out.glob(f"{folder}*.part"):
            part.unlink(missing_ok=True)


@contextmanager
def _bar(total: int, done: int, show: bool) -> Iterator:
    """Shows how many keyframes are recorded and how long the rest will take."""
    columns = (
        TextColumn("[bold]world"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not show) as bar:
        task = bar.add_task("world", total=total, completed=done)
        yield lambda: bar.advance(task)
