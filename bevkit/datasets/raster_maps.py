"""nuScenes' raster maps: for each scene the picture that says where one may drive or walk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

MAP_TABLES = ("scene", "map")


def raster_map_paths(dataroot: str | Path, version: str, scenes: Sequence[str]) -> dict[str, str]:
    """Returns the path of the raster map of each scene, by the tables ``scene`` and ``map``.

    Raises:
        FileNotFoundError: a table or a picture is missing.
        ValueError: a scene has no map.
    """
    root = Path(dataroot)
    rows = {name: json.loads((root / version / f"{name}.json").read_text("utf-8")) for name in MAP_TABLES}
    files = {log: row["filename"] for row in rows["map"] for log in row["log_tokens"]}
    logs = {row[key]: row["log_token"] for row in rows["scene"] for key in ("name", "token")}
    without = [name for name in scenes if logs.get(name) not in files]
    if without:
        raise ValueError(f"raster_maps: expected a map for every scene of {version}, got none for "
                         f"{', '.join(without[:5])}; complete the tables scene and map, choose other scenes, or, where "
                         "an info file does not name its scenes, leave infos out")
    paths = {name: str(root / files[logs[name]]) for name in scenes}
    missing = [path for path in sorted(set(paths.values())) if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} raster maps of {version} are missing, the first is {missing[0]}; put "
                                "the folder maps/ beside the tables, or pass raster_maps=False")
    return paths
