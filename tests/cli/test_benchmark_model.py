"""`bevkit benchmark model`: its stages are those of the model."""

from pathlib import Path

import pytest
import torch

from bevkit.cli.benchmarks.model import measure, stages_of
from bevkit.engine.build import load_model
from bevkit.engine.config import load_config
from bevkit.export.graph import random_clip

TINY = Path(__file__).parents[2] / "configs/tiny"


@pytest.fixture(params=["powerbev", "bevformer", "bevdepth"])
def model(request):
    return load_model(load_config(TINY / f"{request.param}.py"))


def test_stages_in_a_row_are_the_model(model):
    size = (64, 128)
    clip = random_clip(model.grid, 6, tuple(getattr(model.view_transformer, "image_size", size)), model.past + 1)
    batch = model.data_preprocessor({"batch": clip})["batch"]
    with torch.no_grad():
        raw = {name: call() for name, call, _ in stages_of(model, batch)}["head"]
        expected, _ = model.run_clip(batch)
    for ours, theirs in zip(raw, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_stage_is_timed(model):
    rows = measure(model, tuple(getattr(model.view_transformer, "image_size", (64, 128))), repeats=1)
    assert [row["stage"] for row in rows][-1].startswith("all")
    assert all(row["ms"] > 0 for row in rows)
