"""bevkit benchmark view-transformer: every registered view transformer is there, and its references agree."""

import json

import pytest
import torch

from bevkit.cli.benchmarks import bev_pool, view_transformer
from bevkit.cli.main import main

TINY = bev_pool.Size((64, 160), 0.1, 16, (2.0, 10.0, 2.0), 8.0, 2.0, 8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(bev_pool.SIZES, "powerbev", TINY)


def test_every_registered_view_transformer_is_timed(tmp_path):
    path = tmp_path / "views.json"
    assert main(["benchmark", "view-transformer", "--size", "powerbev", "--channels", "32", "--repeats", "2",
                 "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    timed = [row["form"] for row in rows]
    for name in view_transformer.registered():
        assert any(form.startswith(name) for form in timed), name
    assert timed[-3:-1] == ["lifted, index_add", "lifted, sort-and-cumsum"] and timed[-1].startswith("bytes floor")
    assert all(row["forward_ms"] > 0 and row["floors"] >= 1 for row in rows)
    assert all(row["train_ms"] > 0 and row["parameters"] > 0 for row in rows[:-1])


def test_references_are_the_same_map():
    view = view_transformer._build("LiftSplat", {}, "powerbev", 32)
    rig = bev_pool.rig_of(TINY)
    depth, context = torch.rand(6, len(view.depths), 4, 10), torch.randn(6, 8, 4, 10)
    expected = view.pooling(depth, context, *view.pooling.plan(view.cells(view.points(rig))))
    for pool in view_transformer.references(view, rig).values():
        assert torch.allclose(pool(depth, context), expected, atol=1e-4)


def test_unknown_name_is_refused(capsys):
    assert main(["benchmark", "view-transformer", "--only", "LiftSplit"]) != 0
    assert "expected names among" in capsys.readouterr().err
