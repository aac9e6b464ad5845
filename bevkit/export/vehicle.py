"""The program of the vehicle, `deploy/`, as the parity report runs it: to decode what an exported graph returns."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bevkit
from bevkit.models.coders.boxes import detections
from bevkit.structures import BEVMaps, Detections3D, FutureInstances
from bevkit.structures.classes import CLASSES

DEPLOY = Path(bevkit.__file__).resolve().parents[1] / "deploy"
Result = Detections3D | FutureInstances | BEVMaps
Decode = Callable[[dict[str, Tensor]], Result]


def vehicle_decoder(onnx_path: Path) -> Decode | None:
    """Returns the vehicle's decoding of an exported model, by the manifest beside it.

    None where there is none: no manifest, a coder that the vehicle does not know, or a bevkit without `deploy/` beside.
    """
    path = onnx_path.parent / "manifest.json"
    manifest = json.loads(path.read_text()) if path.is_file() else {}
    if len(manifest.get("decode", {})) < 2 or not DEPLOY.is_dir():  # a coder without settings is named only
        return None
    program = _program()

    def decode(outputs: dict[str, Tensor]) -> Result:
        result = program.decoded({name: value.numpy() for name, value in outputs.items()}, manifest)
        if isinstance(result, dict):
            maps = torch.from_numpy(np.stack(list(result.values())))
            return BEVMaps(maps.float(), maps, tuple(result))
        if not isinstance(result, tuple):
            return FutureInstances(torch.from_numpy(result))
        boxes, scores, names, *paths = result
        labels = torch.tensor([CLASSES.index(name) for name in names], dtype=torch.int64)
        found = detections(torch.from_numpy(boxes), torch.from_numpy(scores), labels)
        return replace(found, **dict(zip(("paths", "path_scores"), map(torch.from_numpy, paths))))

    return decode


def _program() -> Any:
    """Imports deploy/stream.py, whose files find one another as neighbours."""
    sys.path.insert(0, str(DEPLOY))
    try:
        return importlib.import_module("stream")
    finally:
        sys.path.remove(str(DEPLOY))
