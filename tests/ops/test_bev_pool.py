"""bev_pool: every form against the clear reference, in values and gradients, on the awkward layouts."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bevkit.ops.bev_pool import SortedPooling, bev_pool, bev_pool_reference, plan_bev_pool
from bevkit.ops.bev_pool_tables import TablePooling

SHAPE = (7, 5)
POOLINGS = {"sorted": SortedPooling(SHAPE), "tables": TablePooling(SHAPE, capacity=8.0)}
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def scattered(generator: torch.Generator) -> Tensor:
    cells = torch.randint(0, 35, (2, 3, 5, 3, 4), generator=generator)
    return torch.where(torch.rand(cells.shape, generator=generator) < 0.3, -1, cells)


def vertical(generator: torch.Generator) -> Tensor:
    """As a level camera sees it: a column of pixels meets one cell a depth, neighbours share cells."""
    cells = torch.randint(0, 35, (2, 3, 5, 1, 2), generator=generator)
    return cells.expand(-1, -1, -1, 3, -1).repeat_interleave(2, dim=-1)


LAYOUTS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "scattered": scattered,
    "vertical": vertical,
    "nothing on the grid": lambda _: torch.full((1, 2, 3, 2, 4), -1),
    "all in the last cell": lambda _: torch.full((2, 1, 6, 3, 4), 34),
    "all in the first cell": lambda _: torch.zeros(1, 2, 3, 4, 1, dtype=torch.int64),
    "one point": lambda _: torch.full((1, 1, 1, 1, 1), 17),
}


def operands(cells: Tensor, dtype: torch.dtype, generator: torch.Generator, channels: int = 6) -> tuple[Tensor, Tensor]:
    rigs, cameras, depths, height, width = cells.shape
    depth = torch.rand(rigs * cameras, depths, height, width, generator=generator, dtype=torch.float64)
    context = torch.randn(rigs * cameras, channels, height, width, generator=generator, dtype=torch.float64)
    return depth.to(dtype).requires_grad_(), context.to(dtype).requires_grad_()


def check_against_reference(pool: Callable[..., Tensor], cells: Tensor, dtype: torch.dtype, tolerance: float,
                            generator: torch.Generator) -> None:
    """Compares the map and both gradients; the reference runs on the same numbers in float64."""
    depth, context = operands(cells, dtype, generator)
    bev = pool(depth, context)
    exact_depth, exact_context = (tensor.detach().double().requires_grad_() for tensor in (depth, context))
    exact = bev_pool_reference(exact_depth, exact_context, cells, SHAPE)
    weight = torch.randn(exact.shape, generator=generator, dtype=torch.float64).to(bev)
    got = (bev, *torch.autograd.grad(bev, (depth, context), weight))
    wanted = (exact, *torch.autograd.grad(exact, (exact_depth, exact_context), weight.double()))
    for mine, reference in zip(got, wanted):
        assert mine.shape == reference.shape and mine.dtype == dtype
        mine, reference = mine.detach().cpu().double(), reference.detach().cpu()
        scale = float(reference.abs().max()) or 1.0
        assert float((mine - reference).abs().max()) <= tolerance * scale


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_agrees_with_the_reference(pooling, layout, dtype, tolerance, generator):
    cells = layout(generator)
    plan = pooling.plan(cells)
    check_against_reference(lambda d, c: pooling(d, c, *plan), cells, dtype, tolerance, generator)


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_gradients_by_finite_differences(pooling, generator):
    cells = scattered(generator)[:, :1, :3]
    plan = pooling.plan(cells)
    assert torch.autograd.gradcheck(lambda d, c: pooling(d, c, *plan), operands(cells, torch.float64, generator, 2))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 6e-4), (torch.bfloat16, 5e-3)])
def test_half_operands_are_summed_in_float32(dtype, tolerance, generator):
    """600 equal points a cell: a half-precision sum would stop growing, a float32 sum rounds once at the end."""
    cells = torch.arange(2).view(1, 1, 1, 1, 2).expand(1, 6, 1, 100, 2)
    pooling = SortedPooling(SHAPE)
    plan = pooling.plan(cells)
    check_against_reference(lambda d, c: pooling(d, c, *plan), cells, dtype, tolerance, generator)
    depth, context = operands(cells, dtype, generator)
    table = TablePooling(SHAPE, capacity=8.0)
    assert torch.allclose(table(depth, context, *table.plan(cells)), pooling(depth, context, *plan), rtol=4 * tolerance,
                          atol=4 * tolerance)


def test_mixed_precision_of_autocast(generator):
    """Under autocast softmax gives float32 depth while the context comes in bfloat16: the wider one is kept."""
    cells = scattered(generator)
    depth, context = operands(cells, torch.float32, generator)
    bev = bev_pool(depth, context.bfloat16(), plan_bev_pool(cells, SHAPE), SHAPE)
    exact = bev_pool_reference(depth, context.bfloat16().float(), cells, SHAPE)
    assert bev.dtype == torch.float32
    assert torch.allclose(bev, exact, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_rigs_of_a_batch_do_not_mix(pooling, generator):
    cells = scattered(generator)
    depth, context = operands(cells, torch.float32, generator)
    together = pooling(depth, context, *pooling.plan(cells))
    apart = [pooling(d, c, *pooling.plan(one[None])) for one, d, c in zip(cells, depth.split(3), context.split(3))]
    assert torch.equal(together, torch.cat(apart))


def test_nothing_is_lost_or_invented(generator):
    cells = vertical(generator)
    depth, context = operands(cells, torch.float64, generator)
    bev = bev_pool(depth, context, plan_bev_pool(cells, SHAPE), SHAPE)
    lifted = (depth.sum(1, keepdim=True) * context).unflatten(0, (2, 3))
    assert torch.allclose(bev.sum((2, 3)), lifted.sum((1, 3, 4)))


def test_repeats_bit_for_bit(generator):
    cells = scattered(generator)
    depth, context = operands(cells, torch.float32, generator)
    plan = plan_bev_pool(cells, SHAPE)
    runs = []
    for _ in range(3):
        bev = bev_pool(depth, context, plan, SHAPE)
        runs.append((bev, *torch.autograd.grad(bev.square().sum(), (depth, context))))
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run))


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_plan_shapes_do_not_depend_on_calibration(pooling, generator):
    first = pooling.plan(scattered(generator))
    second = pooling.plan(torch.full((2, 3, 5, 3, 4), -1))
    assert [part.shape for part in first] == [part.shape for part in second]
    assert all(part.dtype == torch.int32 for part in first)


def test_tables_say_which_capacity_they_need():
    cells = torch.arange(15).view(1, 1, 5, 3, 1)  # a column that meets three cells per depth
    with pytest.raises(ValueError, match=r"export_capacity to 3\.0"):
        TablePooling(SHAPE, capacity=1.0).plan(cells)
    TablePooling(SHAPE, capacity=3.0).plan(cells)
    with pytest.raises(ValueError, match="export_capacity to 24"):  # 400 columns meet in one cell
        TablePooling(SHAPE, capacity=2.0).plan(torch.zeros(1, 1, 1, 1, 400, dtype=torch.int64))


def test_refuses_what_does_not_fit(generator):
    cells = scattered(generator)
    depth, context = operands(cells, torch.float32, generator)
    plan = plan_bev_pool(cells, SHAPE)
    with pytest.raises(ValueError, match="depth: expected shape"):
        bev_pool(depth[:, :-1], context, plan, SHAPE)
    with pytest.raises(ValueError, match="context: expected shape"):
        bev_pool(depth, context[:-1], plan, SHAPE)
    with pytest.raises(ValueError, match="plan.starts"):
        bev_pool(depth, context, plan, (8, 5))
    with pytest.raises(ValueError, match="move the rig"):
        bev_pool(depth.to("meta"), context.to("meta"), plan, SHAPE)


# ---- Triton ---------------------------------------------------------------------------------------------------------


@needs_triton
def test_triton_kernels_interpreted():
    """Runs this file's ``main`` in a process of its own, as Triton reads TRITON_INTERPRET when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run([sys.executable, "-m", "tests.ops.test_bev_pool"], env=environment, capture_output=True,
                            text=True, cwd=environment["PYTHONPATH"], timeout=300)
    assert result.returncode == 0, result.stderr


def main() -> None:
    """Checks the interpreted kernels on CPU tensors; 6 channels leave lanes idle, 144 points a cell fill tiles."""
    from bevkit.ops.bev_pool_triton import bev_pool_triton

    generator = torch.Generator().manual_seed(0)
    for layout, dtype, tolerance in (("scattered", torch.float64, 1e-14), ("scattered", torch.float16, 1e-3),
                                     ("all in the last cell", torch.float32, 1e-6),
                                     ("nothing on the grid", torch.float32, 0.0)):
        cells = LAYOUTS[layout](generator)
        plan = plan_bev_pool(cells, SHAPE)
        check_against_reference(lambda d, c: bev_pool_triton(d, c, plan, SHAPE), cells, dtype, tolerance,  # noqa: B023
                                generator)


@needs_triton
@pytest.mark.parametrize("element", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["_sum_cells", "_spread_pixels"])
def test_triton_kernels_compile_for_orin_without_a_gpu(name, element, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bevkit.ops import bev_pool_triton as kernels

    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: kernels are interpreted, not compiled")
    kernel = getattr(kernels, name)
    constants = {"ACC": triton.language.float32, "LANES": 64, "POINTS": 16}
    pointers = {"depth": element, "rows": element, "bev": element, "grad_rows": element, "grad_depth": element,
                "grad_context": element, "points": "i32", "pixels": "i32", "starts": "i32", "cells": "i32"}
    signature = {}
    for argument in kernel.arg_names:
        is_array = argument in pointers and (argument, name) != ("pixels", "_spread_pixels")
        signature[argument] = ("constexpr" if argument in constants else
                               f"*{pointers[argument]}" if is_array else "i32")
    compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 87, 32),
                              options={"num_warps": 1})
    assert compiled.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_cuda_agrees_with_the_reference(layout, dtype, tolerance, generator):
    cells = layout(generator)
    plan = type(plan_bev_pool(cells, SHAPE))(*(part.cuda() for part in plan_bev_pool(cells, SHAPE)))
    check_against_reference(lambda d, c: bev_pool(d.cuda(), c.cuda(), plan, SHAPE), cells, dtype, tolerance, generator)


if __name__ == "__main__":
    main()
