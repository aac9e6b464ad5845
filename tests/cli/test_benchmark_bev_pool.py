"""bevkit benchmark bev-pool: its baseline is right, and its rows are complete."""

import json

import pytest
import torch

from bevkit.cli.benchmarks import bev_pool
from bevkit.cli.main import main
from bevkit.ops.bev_pool import bev_pool_reference

TINY = bev_pool.Size((64, 160), 0.1, 16, (2.0, 10.0, 1.0), 8.0, 1.0, 3)


def test_sort_and_cumsum_is_the_same_sum():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(-1, 20, (1, 2, 4, 3, 5), generator=generator)
    depth = torch.rand(2, 4, 3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    context = torch.randn(2, 6, 3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    mine, reference = (pool(depth, context, cells, (4, 5)) for pool in (bev_pool.sort_and_cumsum, bev_pool_reference))
    assert torch.allclose(mine, reference)
    weight = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(torch.autograd.grad(mine, (depth, context), weight),
                          torch.autograd.grad(reference, (depth, context), weight)):
        assert torch.allclose(one, other)


def test_every_form_is_timed(monkeypatch, tmp_path):
    monkeypatch.setitem(bev_pool.SIZES, "powerbev", TINY)
    path = tmp_path / "bev_pool.json"
    assert main(["benchmark", "bev-pool", "--sizes", "powerbev", "--repeats", "2", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["form"].split(" at ")[0] for row in rows] == ["bev_pool", "bev_pool, exportable", "index_add",
                                                             "sort-and-cumsum", "bytes floor"]
    assert all(row["forward_ms"] > 0 and row["train_ms"] > 0 and row["forward_ratio"] > 0 for row in rows)
    assert rows[0]["forward_ratio"] == pytest.approx(1)
