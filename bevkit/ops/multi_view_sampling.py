"""Points that fell into images of several cameras read all scales there, each with a weight of its own.

SparseBEV's sampling (Liu et al., ICCV 2023, section 3.3): each point reads one image. Its forms agree:

* `multi_view_sampling_reference`: a grid_sample of rank 5 a scale with the cameras as depth, as the authors' PyTorch
  fallback has it;
* `multi_view_sampling`: the cameras' maps stand one above the other with a row of zeros between, so that it is
  `deformable_attention` with a scale a sample, on CUDA by its Triton kernels, which never hold the samples of every
  scale; on the CPU it is `sample_rows`, a weighted sum of rows, which touches no other features and holds no sample;
* `sample_maps`: a grid_sample of rank 4 a scale on the same stacks, standard operators: what is exported.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.checks import expect
from bevkit.ops.deformable_attention import Shapes, deformable_attention


def stack_views(features: Sequence[Tensor], groups: int) -> tuple[Tensor, Shapes]:
    """Lays the maps of N cameras one above the other, scale after scale, as rows of channels.

    Args:
        features: of each of L scales [M N C H W].
        groups: G that the channels are parted into.

    Returns:
        values [M S G C/G] and the shapes (N*(H+1), W) of the stacks, whose areas add up to S.
    """
    rows = []
    for level in features:
        expect("features", level, "M N C H W")
        cells = level.permute(0, 1, 3, 4, 2)  # [M N H W C]
        # A row of zeros below each map: no camera's border reads another's image.
        rows.append(torch.cat((cells, torch.zeros_like(cells[:, :, :1])), dim=2).flatten(1, 3))  # [M N*(H+1)*W C]
    return torch.cat(rows, dim=1).unflatten(2, (groups, -1)), shapes_of(features)


def stack_maps(features: Sequence[Tensor], groups: int) -> tuple[Tensor, Shapes]:
    """Does what `stack_views` does with the channels in front, as grid_sample wants them: values [M G C/G S]."""
    maps = [F.pad(level, (0, 0, 0, 1)).transpose(1, 2).flatten(2) for level in features]  # [M C N*(H+1)*W]
    return torch.cat(maps, dim=2).unflatten(1, (groups, -1)), shapes_of(features)


def unstacked(values: Tensor, shapes: Shapes) -> list[Tensor]:
    """Parts stacks [M C S] of all scales into a map [M C N*(H+1) W] each."""
    levels = values.split([height * width for height, width in shapes], dim=2)
    return [level.unflatten(2, shape) for level, shape in zip(levels, shapes)]


def shapes_of(features: Sequence[Tensor]) -> Shapes:
    """Returns the sizes (N*(H+1), W) of the stacks of features [M N C H W]."""
    return [(level.shape[1] * (level.shape[3] + 1), level.shape[4]) for level in features]


def multi_view_sampling(values: Tensor, shapes: Shapes, cameras: int, view: Tensor, place: Tensor, weights: Tensor
                        ) -> Tensor:
    """Reads the map of one camera at each point in L scales and adds up.

    Args:
        values, shapes: of `stack_views`.
        cameras: N.
        view: [M Q G] int64, the camera that each of Q points of each group reads.
        place: [M Q G 2] (u, v) in its image, from 0 at the centre of the first column and row of a map to 1 at that of
            the last; zeros beyond.
        weights: [M Q G L] of the scales.

    Returns:
        [M Q G*C]; differentiable in values, place and weights.
    """
    places = stacked_places(shapes, cameras, view, place)
    return (sample_rows if values.device.type == "cpu" else deformable_attention)(values, shapes, places, weights)


def sample_maps(levels: Sequence[Tensor], cameras: int, view: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """Computes `multi_view_sampling` of stacked maps [M*G C/G N*(H+1) W] a scale; this form is exported.

    Args: weights: [M R Q G L]: R ways to weigh the same samples.

    Returns:
        [M R Q G*C].
    """
    batch, points, groups = view.shape
    places = stacked_places([tuple(level.shape[-2:]) for level in levels], cameras, view, place)  # [M Q G L 2]
    grid = (2 * places - 1).transpose(1, 2).reshape(batch * groups, 1, points, -1, 2)  # [M*G 1 Q L 2]
    share = weights.permute(0, 3, 1, 2, 4).reshape(batch * groups, 1, -1, points, len(levels))  # [M*G 1 R Q L]
    total: Tensor | int = 0
    for index, level in enumerate(levels):
        found = F.grid_sample(level, grid[..., index, :], padding_mode="zeros", align_corners=False)  # [M*G C/G 1 Q]
        total = total + found * share[..., index]  # [M*G C/G R Q]
    assert isinstance(total, Tensor)
    return total.unflatten(0, (batch, groups)).permute(0, 3, 4, 1, 2).flatten(3)


def stacked_places(shapes: Shapes, cameras: int, view: Tensor, place: Tensor) -> Tensor:
    """Returns where points [M Q G] lie on the stacks, fractions from edge to edge: [M Q G L 2]."""
    level_places = []
    for stack, width in shapes:
        height = stack // cameras - 1
        # Beyond the zeros around a map everything is zero: clamped, no point slips into the next camera's map.
        column = (place[..., 0] * (width - 1)).clamp(-1, width)
        row = view * (height + 1) + (place[..., 1] * (height - 1)).clamp(-1, height)
        level_places.append(torch.stack(((column + 0.5) / width, (row + 0.5) / stack), dim=-1))  # [M Q G 2]
    return torch.stack(level_places, dim=3)


def sample_rows(values: Tensor, shapes: Shapes, places: Tensor, weights: Tensor) -> Tensor:
    """Computes `deformable_attention` with one sample a scale by adding up weighted rows of ``values``.

    The four neighbours of a sample are runs of C/G numbers each: nothing else of the features is touched, and no sample
    is ever stored. For many samples on few cells `deformable_attention_reference` is the quicker form.
    """
    batch, cells, groups, channels = values.shape
    lead = (torch.arange(batch, device=values.device).view(-1, 1, 1, 1) * cells)  # [M 1 1 1]
    group = torch.arange(groups, device=values.device).view(1, 1, -1, 1)
    rows, factors, first = [], [], 0
    for (height, width), place, weight in zip(shapes, places.unbind(dim=3), weights.unbind(dim=3)):
        column, row = place[..., :1] * width - 0.5, place[..., 1:] * height - 0.5  # [M Q G 1]
        left, top = column.detach().floor(), row.detach().floor()
        x = left + torch.tensor((0, 1, 0, 1), device=values.device)  # [M Q G 4]
        y = top + torch.tensor((0, 0, 1, 1), device=values.device)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # a place that is no number lies outside
        share = (1 - (column - x).abs()) * (1 - (row - y).abs()) * weight.unsqueeze(-1)
        x, y = (torch.where(inside, part, 0.0).long() for part in (x, y))
        rows.append((lead + y * width + x + first) * groups + group)
        factors.append(torch.where(inside, share, 0.0))
        first += height * width
    index, factor = torch.cat(rows, dim=3), torch.cat(factors, dim=3)  # [M Q G 4*L]
    found = F.embedding_bag(index.flatten(0, 2), values.reshape(-1, channels), mode="sum",
                            per_sample_weights=factor.flatten(0, 2).to(values.dtype))  # [M*Q*G C/G]
    return found.view(*places.shape[:2], groups * channels)


def multi_view_sampling_reference(features: Sequence[Tensor], view: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """Computes `multi_view_sampling` of features [M N C H W] a scale by grid_sample over (u, v, camera)."""
    batch, queries, groups = view.shape
    cameras = features[0].shape[1]
    depth = 2 * view.to(place) / max(cameras - 1, 1) - 1  # [M Q G]
    grid = torch.cat((2 * place - 1, depth.unsqueeze(-1)), dim=-1).transpose(1, 2)  # [M G Q 3]
    grid = grid.reshape(batch * groups, 1, 1, queries, 3)
    total: Tensor | int = 0
    for level, weight in zip(features, weights.unbind(dim=3)):
        maps = level.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)  # [M*G C/G N H W]
        found = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=True)  # [M*G C/G 1 1 Q]
        total = total + found[:, :, 0, 0].unflatten(0, (batch, groups)).permute(0, 3, 1, 2) * weight.unsqueeze(-1)
    assert isinstance(total, Tensor)
    return total.flatten(2)
