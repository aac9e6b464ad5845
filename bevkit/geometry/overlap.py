"""How much of two rectangles on the ground coincides, whatever way they are turned.

The area of a polygon is a sum over its border: half of cross(start, end) of every piece (Green's theorem). The border
of an intersection is made of the pieces of each outline that lie inside of the other rectangle, and in the frame of a
rectangle "inside" is |x| <= l/2, |y| <= w/2: a line is cut by four numbers (Liang and Barsky, 1984). So the pieces are
never sorted or joined, and all pairs of rectangles are cut at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HAIR = 1e-9  # metres; of two outlines that coincide and run the same way exactly one must count
# Unit corners counter-clockwise; x = length, y = width.
_CORNERS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


def turned(points: Tensor, yaws: Tensor) -> Tensor:
    """Turns points [* P 2] counter-clockwise by angles [*]."""
    cos, sin = yaws.cos().unsqueeze(-1), yaws.sin().unsqueeze(-1)
    x, y = points.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def footprints(boxes: Tensor) -> Tensor:
    """Returns the corners [* 4 2], counter-clockwise, of rectangles [* 5] = (x, y, length, width, yaw)."""
    unit = torch.tensor(_CORNERS, dtype=boxes.dtype, device=boxes.device)
    return turned(unit * boxes[..., None, 2:4], boxes[..., 4]) + boxes[..., None, :2]


def _border_inside(corners: Tensor, boxes: Tensor, along: float) -> Tensor:
    """Sums half of cross(start, end) over the pieces of outlines [P 4 2] that lie in rectangles [P 5]: [P].

    A side is moved inwards by a hair for edges that run against it, and by ``along`` hairs outwards for edges that run
    its way. Outlines on either side of a common line then both count as outside, as they should.
    """
    local = turned(corners - boxes[:, None, :2], -boxes[:, 4])  # [P 4 2]
    edge = local.roll(-1, dims=1) - local
    way = torch.stack((edge[..., 1], -edge[..., 0], -edge[..., 1], edge[..., 0]), dim=-1)  # [P 4 edges 4 sides]
    half = boxes[:, None, 2:4] / 2
    inside = torch.cat((half - local, half + local), dim=-1) + torch.where(way > 0, along * _HAIR, -_HAIR)  # the same
    gain = torch.cat((-edge, edge), dim=-1)  # of the distance to each side, from the start to the end of each edge
    met = -inside / torch.where(gain == 0, 1, gain)  # share of the edge at which it meets the side
    beside = torch.where(inside < 0, 2.0, -1.0).to(met)  # an edge along a side: outside, or not
    enters = torch.where(gain > 0, met, torch.where(gain == 0, beside, -1.0)).amax(dim=-1).clamp(min=0)  # [P 4]
    leaves = torch.where(gain < 0, met, 2.0).amin(dim=-1).clamp(max=1)
    # cross(a + t (b - a), a + u (b - a)) = (u - t) cross(a, b)
    after = corners.roll(-1, dims=1)
    cross = corners[..., 0] * after[..., 1] - corners[..., 1] * after[..., 0]
    return ((leaves - enters).clamp(min=0) * cross).sum(dim=-1) / 2


def intersection_areas(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns the common area [P] in square metres of pairs of rectangles [P 5] = (x, y, length, width, yaw)."""
    boxes, others = boxes.double(), others.double()
    origin = boxes[:, :2]  # near both: products of global coordinates would cost digits
    boxes, others = (torch.cat((each[:, :2] - origin, each[:, 2:]), dim=1) for each in (boxes, others))
    area = _border_inside(footprints(boxes), others, 1.0) + _border_inside(footprints(others), boxes, -1.0)
    return area.clamp(min=0)


def rotated_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns intersection over union [A B] float64 of rectangles [A 5] and [B 5] = (x, y, length, width, yaw).

    Metres and radians, yaw counter-clockwise. Only pairs whose circumscribed circles meet are cut.
    """
    boxes, others = boxes.double(), others.double()
    reach, reaches = (torch.hypot(each[:, 2], each[:, 3]) / 2 for each in (boxes, others))
    distance = torch.cdist(boxes[:, :2], others[:, :2], compute_mode="donot_use_mm_for_euclid_dist")  # [A B]
    row, column = torch.nonzero(distance < reach[:, None] + reaches, as_tuple=True)  # each [P]
    common = intersection_areas(boxes[row], others[column])
    union = (boxes[:, 2] * boxes[:, 3])[row] + (others[:, 2] * others[:, 3])[column] - common
    overlap = torch.zeros_like(distance)
    overlap[row, column] = common / union.clamp(min=1e-12)
    return overlap
