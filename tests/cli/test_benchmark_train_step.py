"""`bevkit benchmark train-step` steps detectors too: a loss that reaches the head, on clips of the right length."""

from pathlib import Path

import pytest

from bevkit.cli.benchmarks.train_step import PARTS, measure, random_batch
from bevkit.cli.export import image_size_of
from bevkit.engine.build import build_model
from bevkit.engine.config import load_config

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny"


@pytest.mark.parametrize("name", ["lss_centerpoint", "bevformer"])
def test_a_detector_steps(name: str) -> None:
    row = measure(load_config(TINY / f"{name}.py"), 2, 6, 1, "float32")
    assert all(row[f"{part}_ms"] > 0 for part in PARTS)


def test_a_sparse_detector_steps_in_both_forms() -> None:
    cfg = load_config(TINY / "sparsebev.py")
    rows = [measure(cfg, 1, 6, 1, "float32", plain) for plain in (False, True)]
    assert [row["form"] for row in rows] == ["float32", "float32, grid_sample"]
    assert all(row["ms"] > 0 for row in rows)


def test_the_car_is_learned() -> None:
    cfg = load_config(TINY / "lss_centerpoint.py")
    model = build_model(cfg)
    batch = random_batch(model, 2, 3, image_size_of(cfg, model), 0)
    assert batch.targets["used"].flatten(1).sum(dim=1).tolist() == [1, 1]
