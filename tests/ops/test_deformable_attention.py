"""deformable_attention: every form against sums written out by hand, in values and gradients."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bevkit.ops.deformable_attention import deformable_attention, deformable_attention_reference

SHAPES = [(5, 7), (3, 4), (1, 2)]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def operands(dtype: torch.dtype, generator: torch.Generator, shapes=SHAPES, batch: int = 2, groups: int = 3,
             channels: int = 6, queries: int = 11, points: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Places lie inside, on borders and far outside of the maps; weights do not sum to 1."""
    cells = sum(height * width for height, width in shapes)
    samples = points * len(shapes)
    values = torch.randn(batch, cells, groups, channels, generator=generator, dtype=torch.float64)
    locations = torch.rand(batch, queries, groups, samples, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    locations[:, 0] = 50.0
    locations[:, 1] = 0.013
    weights = torch.randn(batch, queries, groups, samples, generator=generator, dtype=torch.float64)
    return tuple(tensor.to(dtype).requires_grad_() for tensor in (values, locations, weights))


def by_hand(values: Tensor, shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The bilinear sum, a cell at a time, by the tent function of the distance to the cell's centre."""
    batch, _, groups, channels = values.shape
    queries, samples = locations.shape[1], locations.shape[3] // len(shapes)
    result = values.new_zeros(batch, queries, groups, channels)
    first = 0
    for level, (height, width) in enumerate(shapes):
        run = slice(level * samples, (level + 1) * samples)
        for y in range(height):
            for x in range(width):
                tent = (1 - (locations[..., run, 0] * width - 0.5 - x).abs()).clamp(min=0) \
                    * (1 - (locations[..., run, 1] * height - 0.5 - y).abs()).clamp(min=0)  # [B Q G K/L]
                share = (tent * weights[..., run]).sum(-1)  # [B Q G]
                result = result + share.unsqueeze(-1) * values[:, first + y * width + x].unsqueeze(1)
        first += height * width
    return result.flatten(2)


def check(attend, tensors: tuple[Tensor, ...], tolerance: float, generator: torch.Generator) -> None:
    """Compares values and the three gradients with the sum by hand, which runs in float64."""
    result = attend(*tensors)
    exact_tensors = tuple(tensor.detach().cpu().double().requires_grad_() for tensor in tensors)
    exact = by_hand(exact_tensors[0], SHAPES, *exact_tensors[1:])
    slope = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    got = (result, *torch.autograd.grad(result, tensors, slope.to(result)))
    wanted = (exact, *torch.autograd.grad(exact, exact_tensors, slope))
    for mine, reference in zip(got, wanted):
        assert mine.shape == reference.shape
        reference = reference.detach()
        difference = (mine.detach().cpu().double() - reference).abs().max()
        assert float(difference) <= tolerance * float(reference.abs().max())


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_reference_is_the_bilinear_sum(dtype, tolerance, generator):
    check(lambda v, p, w: deformable_attention_reference(v, SHAPES, p, w), operands(dtype, generator), tolerance,
          generator)


def test_half_values_are_placed_in_float32(generator):
    """At u = 0.501 of 1000 columns a half precision place would be wrong by a quarter of a cell."""
    values = torch.arange(1000, dtype=torch.float16).view(1, -1, 1, 1)
    place, weight = torch.tensor([0.50125, 0.5]).view(1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1)
    result = deformable_attention(values, [(1, 1000)], place, weight)
    assert result.dtype == torch.float16 and float(result) == pytest.approx(500.75, abs=0.25)


def test_a_constant_map_gives_the_sum_of_the_weights(generator):
    _, locations, weights = operands(torch.float64, generator)
    inside = (locations.detach() % 1) * 0.5 + 0.25
    big = [(8, 8)] * 3
    result = deformable_attention(torch.ones(2, 192, 3, 6, dtype=torch.float64), big, inside, weights)
    assert torch.allclose(result.unflatten(2, (3, 6)), weights.sum(-1, keepdim=True).expand(-1, -1, -1, 6))


def test_refuses_maps_of_another_size(generator):
    values, locations, weights = operands(torch.float32, generator)
    with pytest.raises(ValueError, match="flatten the same maps"):
        deformable_attention(values, [(5, 7), (3, 4)], locations, weights)
    with pytest.raises(ValueError, match="weights: expected shape"):
        deformable_attention(values, SHAPES, locations, weights[:, :-1])


# ---- Triton ---------------------------------------------------------------------------------------------------------


@needs_triton
def test_triton_kernels_interpreted():
    """Runs this file's ``main`` in a process of its own, as Triton reads TRITON_INTERPRET when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run([sys.executable, "-m", "tests.ops.test_deformable_attention"], env=environment,
                            capture_output=True, text=True, cwd=environment["PYTHONPATH"], timeout=300)
    assert result.returncode == 0, result.stderr


def main() -> None:
    """Checks the interpreted kernels on CPU tensors; 6 channels leave lanes idle, 11 queries leave a tile idle."""
    from bevkit.ops.deformable_attention_triton import deformable_attention_triton

    generator = torch.Generator().manual_seed(0)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        check(lambda v, p, w: deformable_attention_triton(v, SHAPES, p, w), operands(dtype, generator), tolerance,
              generator)


@needs_triton
@pytest.mark.parametrize("element", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["_gather", "_scatter"])
def test_triton_kernels_compile_for_orin_without_a_gpu(name, element, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bevkit.ops import deformable_attention_triton as kernels

    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: kernels are interpreted, not compiled")
    kernel = getattr(kernels, name)
    constants = {"ACC": triton.language.float32, "LANES": 32, "QUERIES": 16}
    pointers = {"values": element, "levels": "i32", "locations": "fp32", "weights": "fp32", "result": element,
                "grad": element, "grad_values": "fp32", "grad_locations": "fp32", "grad_weights": "fp32"}
    signature = {argument: "constexpr" if argument in constants else
                 f"*{pointers[argument]}" if argument in pointers else "i32" for argument in kernel.arg_names}
    compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 87, 32),
                              options={"num_warps": 2})
    assert compiled.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.float16, 3e-3)])
def test_cuda_agrees_with_the_sum_by_hand(dtype, tolerance, generator):
    tensors = tuple(tensor.detach().cuda().requires_grad_() for tensor in operands(dtype, generator))
    check(lambda v, p, w: deformable_attention(v, SHAPES, p, w), tensors, tolerance, generator)


if __name__ == "__main__":
    main()
