"""SparseBEV's decoder layer (Liu et al., ICCV 2023, section 3): queries with boxes look at images through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers.deformable_attention import FeedForward
from bevkit.ops.deformable_attention import Shapes
from bevkit.ops.multi_view_sampling import multi_view_sampling, sample_maps

SMALLEST_DEPTH = 1e-5  # metres; nearer points are behind the camera
ScaleWeights = Literal["own", "shuffled"]


class StreamedMaps(NamedTuple):
    """Stacked maps of streams, a scale each, as standard operators read them.

    They stay where they are: to lay the past beside the present would be to copy gigabytes at every instant.

    present: of each scale [B*G C/G N*(H+1) W].
    past: likewise of S past frames [B*S*G C/G N*(H+1) W].
    known: [B], 0 where a scene begins and the present stands in for the past.
    """

    present: Sequence[Tensor]
    past: Sequence[Tensor]
    known: Tensor

    def read(self, cameras: int, view: Tensor, place: Tensor, weights: Tensor, alike: bool) -> Tensor:
        """Reads as `sample_maps`: points [B*T Q G ..]; [B*T Q G*C/G].

        Args: alike: all frames weigh the scales alike, so that one reading of the present may stand for each of them.
        """
        streams = len(self.known)
        now_view, now_place = (part.unflatten(0, (streams, -1))[:, 0] for part in (view, place))  # [B Q G ..]
        weighings = weights.unflatten(0, (streams, -1))  # [B T Q G L]
        now = sample_maps(self.present, cameras, now_view, now_place, weighings[:, :1] if alike else weighings)
        if weighings.shape[1] == 1:
            return now.flatten(0, 1)
        points = (part.unflatten(0, (streams, -1))[:, 1:].flatten(0, 1) for part in (view, place, weights.unsqueeze(1)))
        before = sample_maps(self.past, cameras, *points).view(streams, -1, *now.shape[2:])  # [B S Q C]
        # Where a scene begins all frames have the present's pose: the same points are read in each.
        before = torch.where(self.known.view(-1, 1, 1, 1) > 0, before, now if alike else now[:, 1:])
        return torch.cat((now[:, :1], before), dim=1).flatten(0, 1)


class SparseViews(NamedTuple):
    """What queries look at.

    values: [B*T S G C/G], shapes: features of all scales, by `stack_views`; or the maps of streams.
    projection: [B T N 3 4] takes metres in the present ego frame to (u d, v d, d): fractions of an image, and depth.
    ages: [B T] seconds since each frame, the present first (0).
    """

    values: Tensor | StreamedMaps
    shapes: Shapes
    projection: Tensor
    ages: Tensor


def centers_of(boxes: Tensor, bounds: Tensor) -> Tensor:
    """Returns the centres [B Q 3] in metres of query boxes [B Q 10]; bounds [3 2] metres."""
    low, high = bounds.to(boxes.dtype).unbind(dim=1)
    return boxes[..., :3] * (high - low) + low


class ScaleAdaptiveAttention(nn.Module):
    """Queries attend to one another, each head within a reach that the query chooses (section 3.2).

    Args:
        channels: C.
        heads: H.
        dropout: of the attention, in training.
    """

    def __init__(self, channels: int, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.reach = nn.Linear(channels, heads)  # by which logits fall, a metre
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.output.bias)
        nn.init.zeros_(self.reach.weight)
        nn.init.uniform_(self.reach.bias, 0.0, 2.0)

    def forward(self, query: Tensor, centers: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attends: query [B Q C], centers [B Q 2+] metres, blocked [Q Q] or [B 1 Q Q] bool (not seen); [B Q C]."""
        place = centers[..., :2].detach()
        apart = (place.unsqueeze(2) - place.unsqueeze(1)).norm(dim=-1)  # [B Q Q]
        mask = -self.reach(query).transpose(1, 2).unsqueeze(-1) * apart.unsqueeze(1)  # [B H Q Q]
        if blocked is not None:
            mask = mask.masked_fill(blocked, -torch.inf)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.project(query).chunk(3, dim=-1))
        found = F.scaled_dot_product_attention(q, k, v, mask.to(q.dtype), self.dropout if self.training else 0.0)
        result: Tensor = query + self.output(found.transpose(1, 2).flatten(2))
        return result


class AdaptiveSampling(nn.Module):
    """Queries choose points in their boxes, follow them through time, and read the images there (section 3.3).

    Args:
        channels: C of queries and features.
        groups: G; each has points of its own.
        points: P.
        levels: L scales.
        scale_weights: ``"own"``: each group weighs the scales as it wishes. ``"shuffled"``, as the authors' weights
            have it: group g of frame t uses the weights of group (t*G + g) // T.
    """

    def __init__(self, channels: int, groups: int = 4, points: int = 4, levels: int = 4,
                 scale_weights: ScaleWeights = "own") -> None:
        super().__init__()
        if scale_weights not in ("own", "shuffled"):
            raise ValueError(f"scale_weights: expected own or shuffled, got {scale_weights!r}")
        self.groups, self.points, self.levels, self.order = groups, points, levels, scale_weights
        self.offsets = nn.Linear(channels, groups * points * 3)
        self.scale_weights = nn.Linear(channels, groups * points * levels)
        nn.init.zeros_(self.offsets.weight)
        nn.init.uniform_(self.offsets.bias, -0.5, 0.5)  # of a box: at first points lie all over it

    def forward(self, query: Tensor, boxes: Tensor, centers: Tensor, views: SparseViews) -> Tensor:
        """Samples: query [B Q C], boxes [B Q 10], centers [B Q 3] metres; [B Q G T*P C/G]."""
        frames = views.ages.shape[1]
        points = self.points_in(query, boxes, centers)  # [B Q G*P 3]
        then = self.moved(points, boxes[..., 8:].detach(), views.ages)  # [B T Q G*P 3]
        view, place = self.seen(then, views.projection)  # [B T Q G*P ..]
        weights = self.scale_weights(query).unflatten(2, (self.groups, self.points, self.levels)).softmax(dim=-1)
        weights = weights[:, :, self.whose(frames, query.device)]  # [B Q T G P L]
        points_read = (views.projection.shape[2], self.by_point(view.unsqueeze(-1)).squeeze(-1), self.by_point(place),
                       weights.permute(0, 2, 1, 4, 3, 5).flatten(0, 1).flatten(1, 2))
        if isinstance(views.values, Tensor):
            found = multi_view_sampling(views.values, views.shapes, *points_read)  # [B*T Q*P C]
        else:
            found = views.values.read(*points_read, alike=self.order == "own")
        found = found.view(len(query), frames, query.shape[1], self.points, self.groups, -1)
        return found.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)

    def by_point(self, values: Tensor) -> Tensor:
        """Brings [B T Q G*P c] to the order of the samples: [B*T Q*P G c]."""
        values = values.flatten(0, 1).unflatten(2, (self.groups, self.points))  # [B*T Q G P c]
        return values.transpose(2, 3).flatten(1, 2)

    def points_in(self, query: Tensor, boxes: Tensor, centers: Tensor) -> Tensor:
        """Places the points of each query in its box, metres in the present ego frame: [B Q G*P 3]."""
        offsets = self.offsets(query).unflatten(2, (-1, 3)) * boxes[..., 3:6].exp().unsqueeze(2)
        heading = boxes[..., 6:8] / boxes[..., 6:8].norm(dim=-1, keepdim=True).clamp(min=1e-6)
        sin, cos = heading.split(1, dim=-1)  # [B Q 1] each
        x, y, z = offsets.unbind(dim=-1)
        return torch.stack((x * cos - y * sin, x * sin + y * cos, z), dim=-1) + centers.unsqueeze(2)

    @staticmethod
    def moved(points: Tensor, velocities: Tensor, ages: Tensor) -> Tensor:
        """Moves points [B Q K 3] back to where they were: velocities [B Q 2] m/s, ages [B T] seconds; [B T Q K 3]."""
        way = velocities.unsqueeze(1) * ages[:, :, None, None].to(velocities.dtype)  # [B T Q 2]
        way = F.pad(way, (0, 1)).unsqueeze(3)
        return points.unsqueeze(1) - way

    @staticmethod
    def seen(points: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
        """Says which camera sees each point [B T Q K 3], the first one that does, and where: [B T Q K], [B T Q K 2].

        A point that none sees is left to the first camera, outside of whose image it lies.
        """
        batch, frames, queries = points.shape[:3]
        # In float32 under mixed precision too: half a pixel is lost where bfloat16 rounds, and a half overflows where a
        # point lies just before the camera.
        with torch.autocast(points.device.type, enabled=False):
            flat = F.pad(points.float(), (0, 1), value=1.0).flatten(2, 3)  # [B T Q*K 4]
            pixels = torch.einsum("btnij,btqj->btnqi", projection.float(), flat)  # [B T N Q*K 3]
            depth = pixels[..., 2:]
            place = pixels[..., :2] / depth.clamp(min=SMALLEST_DEPTH)
            valid = (depth[..., 0] > SMALLEST_DEPTH) & ((place > 0) & (place < 1)).all(dim=-1)
            view = valid.int().argmax(dim=2)  # [B T Q*K]
            place = place.gather(2, view[:, :, None, :, None].expand(-1, -1, 1, -1, 2)).squeeze(2)
        return view.view(batch, frames, queries, -1), place.view(batch, frames, queries, -1, 2)

    def whose(self, frames: int, device: torch.device) -> Tensor:
        """Says whose scale weights each group uses in each frame: [T G]."""
        slots = torch.arange(frames * self.groups, device=device).view(frames, self.groups)
        return slots // frames if self.order == "shuffled" else slots % self.groups


class AdaptiveMixing(nn.Module):
    """Each query mixes what it read by matrices of its own: channels, then points of all frames (section 3.4).

    Args:
        channels: C.
        in_points: T*P.
        groups: G.
        out_points: after the mixing.
    """

    def __init__(self, channels: int, in_points: int, groups: int = 4, out_points: int = 128) -> None:
        super().__init__()
        width = channels // groups
        self.sizes = (width * width, in_points * out_points)
        self.groups, self.width, self.out_points = groups, width, out_points
        self.generate = nn.Linear(channels, groups * sum(self.sizes))
        self.output = nn.Linear(groups * out_points * width, channels)
        nn.init.zeros_(self.generate.weight)  # at first all queries mix alike

    def forward(self, query: Tensor, samples: Tensor) -> Tensor:
        """Mixes: query [B Q C], samples [B Q G T*P C/G]; [B Q C]."""
        channel, point = self.generate(query).unflatten(2, (self.groups, -1)).split(self.sizes, dim=-1)
        mixed = samples @ channel.unflatten(3, (self.width, self.width))  # [B Q G T*P C/G]
        mixed = F.layer_norm(mixed, mixed.shape[-2:]).relu()
        mixed = point.unflatten(3, (self.out_points, -1)) @ mixed  # [B Q G out C/G]
        mixed = F.layer_norm(mixed, mixed.shape[-2:]).relu()
        result: Tensor = query + self.output(mixed.flatten(2))
        return result


class SparseDecoderLayer(nn.Module):
    """Queries talk to one another, look, and think; then each says what it is and where (figure 2).

    Args:
        channels: C.
        frames: T.
        classes: K.
        heads, groups, points, levels, ffn_channels, out_points, scale_weights: of its parts.
    """

    def __init__(self, channels: int, frames: int, classes: int = 10, heads: int = 8, groups: int = 4, points: int = 4,
                 levels: int = 4, ffn_channels: int = 512, out_points: int = 128, dropout: float = 0.1,
                 scale_weights: ScaleWeights = "own") -> None:
        super().__init__()
        self.position = nn.Sequential(*(part for width in (3, channels) for part in (
            nn.Linear(width, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True))))
        self.attention = ScaleAdaptiveAttention(channels, heads, dropout)
        self.sampling = AdaptiveSampling(channels, groups, points, levels, scale_weights)
        self.mixing = AdaptiveMixing(channels, frames * points, groups, out_points)
        self.feed_forward = FeedForward(channels, ffn_channels, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.scores = nn.Sequential(*(part for _ in range(2) for part in (
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True))),
            nn.Linear(channels, classes))
        self.boxes = nn.Sequential(*(part for _ in range(2) for part in (
            nn.Linear(channels, channels), nn.ReLU(inplace=True))), nn.Linear(channels, 10))
        nn.init.constant_(self.scores[-1].bias, -4.6)  # few queries find something: start from a hundredth

    def forward(self, query: Tensor, boxes: Tensor, bounds: Tensor, views: SparseViews, blocked: Tensor | None = None
                ) -> tuple[Tensor, Tensor, Tensor]:
        """Refines queries [B Q C] with boxes [B Q 10]; returns both and class logits [B Q K]."""
        centers = centers_of(boxes, bounds)  # [B Q 3] metres
        query = query + self.position(boxes[..., :3])
        query = self.norms[0](self.attention(query, centers, blocked))
        samples = self.sampling(query, boxes, centers, views)  # [B Q G T*P C/G]
        query = self.norms[1](self.mixing(query, samples))
        query = self.norms[2](self.feed_forward(query))
        return query, self.refined(boxes, self.boxes(query), views.ages), self.scores(query)

    @staticmethod
    def refined(boxes: Tensor, change: Tensor, ages: Tensor) -> Tensor:
        """Moves boxes [B Q 10] by what a query says [B Q 10]: centres are moved, the rest is said anew.

        Motion is said as metres between the present and the frame before it (1 s where there is none).
        """
        place = boxes[..., :3].clamp(1e-5, 1 - 1e-5)
        center = (change[..., :3] + (place / (1 - place)).log()).sigmoid()
        velocity = change[..., 8:]
        if ages.shape[1] > 1:
            interval = ages[:, 1]
            interval = torch.where(interval.abs() < 1e-5, torch.ones_like(interval), interval)
            velocity = velocity / interval[:, None, None].to(velocity.dtype)
        return torch.cat((center, change[..., 3:8], velocity), dim=-1)
