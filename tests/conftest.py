"""Fixtures every test may use: the authors' reference tensors, real nuScenes frames, a quiet thread pool."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(os.environ.get("BEVKIT_GOLDEN", ROOT.parent / "shared" / "golden"))
NUSCENES_REAL = Path(os.environ.get("BEVKIT_NUSCENES_REAL", ROOT.parent / "shared" / "nuscenes_real"))


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict]:
    """Loads a file of the authors' reference tensors; skips where the folder is absent (set BEVKIT_GOLDEN)."""

    def load(name: str) -> dict:
        path = GOLDEN / name
        if not path.exists():
            pytest.skip(f"reference tensors {name} not found; set BEVKIT_GOLDEN to their folder")
        if path.suffix == ".json":
            return json.loads(path.read_text())
        if path.suffix == ".npz":
            archive = np.load(path)
            tensors = {key: torch.from_numpy(archive[key]) for key in archive.files if key != "meta"}
            return {**tensors, "meta": json.loads(str(archive["meta"]))}
        return torch.load(path, weights_only=True)

    return load


@pytest.fixture(scope="session")
def nuscenes_real() -> Path:
    """The folder of a few real nuScenes frames; skips where it is absent (set BEVKIT_NUSCENES_REAL)."""
    if not NUSCENES_REAL.is_dir():
        pytest.skip("real nuScenes frames not found; set BEVKIT_NUSCENES_REAL to a dataroot that holds v1.0-mini")
    return NUSCENES_REAL


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world of two scenes (one to train, one to test) of twelve keyframes, shared by all test processes."""
    fcntl = pytest.importorskip("fcntl")
    from bevkit.datasets.synthetic import make_world

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with open(shared / "small_world.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_world(shared / "small_world", scenes=2, seed=3, image_size=(160, 90), frames=12, workers=1, progress=False)
    return shared / "small_world"


@pytest.fixture(scope="session")
def tiny_overrides(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """``--set`` values that point configs/tiny at the small world."""
    return [f"{name}_dataloader.dataset.dataroot={small_world}" for name in ("train", "val", "test")]
