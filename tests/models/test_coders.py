"""Laws of the coders: what they draw is where the boxes are, and what they decode is what they encoded."""

import pickle
from dataclasses import replace

import pytest
import torch

from bevkit.geometry import rigid
from bevkit.geometry.raster import fill_polygons
from bevkit.metrics import count_instances, instance_scores
from bevkit.models.coders import (
    FieryMaps,
    InstanceCenterCoder,
    InstanceFlowCoder,
    InstanceQueryCoder,
    NativeMaps,
    PowerBEVMaps,
)
from bevkit.models.coders.id_maps import backward_flow, instance_centers, trajectories
from bevkit.models.coders.instance_flow import nms_kernel_size
from bevkit.models.coders.instance_maps import build_protocol, footprints
from bevkit.models.temporal import AlignAndStack
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVFrame, BEVGrid, Boxes3D

GRID = BEVGrid(x=(-25.0, 25.0, 0.5), y=(-20.0, 20.0, 0.5))
PROTOCOLS = ["powerbev", "fiery", "fiptr", "native"]


def boxes(centers: torch.Tensor, yaws: torch.Tensor, visibility: int = 4) -> Boxes3D:
    """Cars [A] in any frame; car i has track id 7 i + 3."""
    count = len(centers)
    whole = torch.zeros(count, dtype=torch.int64)
    return Boxes3D(centers, torch.tensor([[4.5, 2.0, 1.6]], dtype=torch.float64).expand(count, 3), yaws,
                   torch.zeros(count, 2, dtype=torch.float64), whole, 7 * torch.arange(count) + 3, whole + visibility,
                   whole, whole, whole == 0)


def ego_pose(step: int, tilt: float = 0.02) -> torch.Tensor:
    vector = torch.tensor([300 + 3.0 * step, 900 + step, 0.5, tilt, -tilt, 0.4 + 0.05 * step], dtype=torch.float64)
    return rigid.motion_matrix(vector)


def traffic(seed: int, past: int = 3, future: int = 4, cars: int = 9) -> BEVClip:
    """Cars that drive straight lines, far enough from one another never to touch, seen from a moving, tilted ego."""
    generator = torch.Generator().manual_seed(seed)
    lanes = 0.13 + torch.linspace(-16, 16, cars, dtype=torch.float64)[torch.randperm(cars, generator=generator)]
    start = torch.rand(cars, generator=generator, dtype=torch.float64) * 20 - 10
    speed = torch.randn(cars, generator=generator, dtype=torch.float64) * 2  # metres a frame
    present = rigid.level(ego_pose(past - 1))
    frames = []
    for step in range(past + future):
        along = start + speed * (step - past + 1)
        level = boxes(torch.stack((along, lanes, torch.full_like(along, 0.3)), dim=-1), torch.zeros_like(along))
        pose = ego_pose(step)
        frames.append(BEVFrame(pose, 0.5 * step, level.moved(rigid.inverse(pose) @ present)))
    return BEVClip(tuple(frames), past)


def oracle(coder: InstanceFlowCoder | InstanceCenterCoder | InstanceQueryCoder, clips: list[BEVClip]
           ) -> dict[str, float]:
    targets = [coder.encode(clip) for clip in clips]
    batch = {name: torch.stack([target[name] for target in targets]) for name in targets[0]}
    results = coder.decode(coder.flawless(batch))
    assert all(result.ids.dtype == torch.int64 for result in results)
    counts = count_instances(torch.cat([result.ids + (result.ids > 0) * 100 * index
                                        for index, result in enumerate(results)], dim=1),
                             batch["instance"].transpose(0, 1).flatten(1, 2)
                             + (batch["instance"] > 0).transpose(0, 1).flatten(1, 2) * 100
                             * torch.arange(len(clips)).repeat_interleave(GRID.shape[0])[:, None])
    return instance_scores(counts)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_decoding_what_was_encoded_scores_full_marks(protocol):
    coder = InstanceFlowCoder(GRID, protocol)
    assert oracle(coder, [traffic(seed) for seed in range(4)]) == pytest.approx(dict(iou=100, vpq=100, sq=100, rq=100))


@pytest.mark.parametrize("protocol", ["fiery", "fiptr"])
@pytest.mark.parametrize("x, y", [((0.0, 48.0, 0.5), (-24.0, 24.0, 0.5)), ((-24.0, 24.0, 0.5), (-16.0, 24.0, 0.5))])
def test_warps_about_the_middle_want_the_ego_there(protocol, x, y):
    with pytest.raises(ValueError, match=f"protocol={protocol}: expected a grid with the ego in its middle"):
        build_protocol(protocol)(traffic(0), BEVGrid(x=x, y=y))
    with pytest.raises(ValueError, match=f'warp=.{protocol}.: expected .*use warp="exact"'):
        AlignAndStack(BEVGrid(x=x, y=y), 4, warp=protocol)


@pytest.mark.parametrize("protocol", ["powerbev", "native"])
def test_decoding_centers_scores_full_marks(protocol):
    coder = InstanceCenterCoder(GRID, protocol)
    assert oracle(coder, [traffic(seed) for seed in range(4)]) == pytest.approx(dict(iou=100, vpq=100, sq=100, rq=100))


@pytest.mark.parametrize("protocol", ["powerbev", "native"])
def test_decoding_masks_of_queries_scores_full_marks(protocol):
    coder = InstanceQueryCoder(GRID, labels=dict(type="InstanceMaskCoder", protocol=protocol))
    assert oracle(coder, [traffic(seed) for seed in range(4)]) == pytest.approx(dict(iou=100, vpq=100, sq=100, rq=100))


@pytest.mark.parametrize("protocol", ["fiptr", "fiery"])
def test_who_leaves_the_drawn_part_of_the_map_costs_queries_something(protocol):
    """Frames drawn around where the ego will be show a part of the map; who leaves it keeps its last mask."""
    coder = InstanceQueryCoder(GRID, labels=dict(type="InstanceMaskCoder", protocol=protocol))
    assert 100 > oracle(coder, [traffic(seed) for seed in range(4)])["vpq"] > 95


def test_nearest_warps_of_centers_cost_something():
    """A warp doubles the cell of some peaks and turns no vector, so that FIERY's labels do not decode perfectly."""
    assert 100 > oracle(InstanceCenterCoder(GRID, "fiery"), [traffic(seed) for seed in range(4)])["vpq"] > 80


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("past, future", [(3, 4), (2, 1), (1, 0), (4, 0)])
def test_shapes(protocol, past, future):
    coder = pickle.loads(pickle.dumps(MODELS.build(dict(type="InstanceFlowCoder", grid=GRID, protocol=protocol))))
    targets = coder.encode(traffic(0, past, future))
    frames = future + min(past, 2)
    assert targets["segmentation"].shape == (frames, *GRID.shape) and targets["segmentation"].dtype == torch.int64
    assert targets["flow"].shape == (frames, 2, *GRID.shape) and targets["flow"].dtype == torch.float32
    assert targets["instance"].shape == (future + 1, *GRID.shape) and targets["instance"].dtype == torch.int64
    assert all(target.is_contiguous() for target in targets.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_empty_scene(protocol):
    clip = traffic(0)
    clip = replace(clip, frames=tuple(replace(frame, boxes=Boxes3D.empty()) for frame in clip.frames))
    coder = InstanceFlowCoder(GRID, protocol)
    targets = coder.encode(clip)
    assert not targets["instance"].any() and (targets["flow"] == 255).all()
    batch = {name: target[None] for name, target in targets.items()}
    assert not coder.decode(coder.flawless(batch))[0].ids.any()
    with pytest.raises(ValueError, match="no boxes"):
        coder.encode(replace(clip, frames=(*clip.frames[:-1], replace(clip.frames[-1], boxes=None))))


def test_native_maps_paint_cells_inside_the_boxes():
    """A cell is painted if and only if it is near its box: the mean of painted cell centres is the box's centre."""
    clip = traffic(3)
    ids = NativeMaps()(clip, GRID).in_present()
    centers, sizes = instance_centers(ids)
    present_from_frame = rigid.inverse(clip.present.global_from_ego) @ clip.global_from_ego
    for step, frame in enumerate(clip.frames):
        moved = frame.boxes.moved(present_from_frame[step])
        whole = GRID.contains(moved.corners[..., :2]).all(dim=-1)
        expected = GRID.cells_from_metric(moved.centers[:, :2]) - 0.5
        assert (centers[step, 1:][whole] - expected[whole]).abs().max() < 0.5
        assert sizes[step, 1:][whole].min() >= 4.5 * 2 / 0.25


def test_edge_rounding_paints_half_a_cell_ahead():
    square = torch.tensor([[[2.0, 2.0], [6.0, 2.0], [6.0, 5.0], [2.0, 5.0]]])
    value = torch.tensor([1])
    center, edge = (fill_polygons((10, 12), square + 0.01, value, rounding) for rounding in ("center", "edge"))
    assert center[2:6, 2:7].all() and center.sum() == 20
    assert torch.equal(fill_polygons((10, 12), square + 0.51, value), edge)
    with pytest.raises(ValueError, match="rounding"):
        fill_polygons((10, 12), square, value, "none")
    assert not fill_polygons((10, 12), square[:0], value[:0]).any()
    assert not fill_polygons((10, 12), square + 1e7, value).any()


def test_footprints_of_upright_boxes_survive_a_tilted_ego():
    """The box a data set stores in a steeply tilted ego frame is found again in the level frame."""
    pose, level = ego_pose(0, tilt=0.2), rigid.level(ego_pose(1, tilt=0.1))
    centers = torch.randn(5, 3, dtype=torch.float64) * 10
    upright = boxes(centers, torch.linspace(-3, 3, 5, dtype=torch.float64))
    seen = upright.moved(rigid.inverse(pose) @ level)
    found = footprints(seen, rigid.inverse(level) @ pose, upright=True)
    torch.testing.assert_close(found, upright.corners[:, :4, :2])


@pytest.mark.parametrize("protocol", [NativeMaps(level_ego=True), PowerBEVMaps(freeze_within=0.0)])
def test_mirrored_and_turned_worlds(protocol):
    """A BEV augmentation of poses and boxes turns the map, here by a mirror across the x axis."""
    clip = traffic(1)
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    mirrored = replace(clip, frames=tuple(
        replace(frame, global_from_ego=frame.global_from_ego @ mirror, boxes=frame.boxes.moved(mirror))
        for frame in clip.frames))
    plain, turned = (replace(protocol, rounding="center")(each, GRID).in_present() for each in (clip, mirrored))
    assert (plain.flip(1) != turned).float().mean() < 1e-4  # cv2 is not quite symmetric


def test_powerbev_protocol_edits():
    past, grid = 3, BEVGrid(x=(-20.0, 20.0, 0.5), y=(-20.0, 20.0, 0.5))
    path = torch.tensor([[0.0, 0.0], [0.6, 0.0], [1.2, 0.0], [1.8, 0.0], [2.4, 0.0]], dtype=torch.float64)

    def clip(shown: list[bool], visibility: list[int], where: torch.Tensor = path) -> BEVClip:
        eye = torch.eye(4, dtype=torch.float64)
        frames = []
        for step, (show, seen) in enumerate(zip(shown, visibility)):
            center = torch.cat((where[step], torch.zeros(1, dtype=torch.float64)))[None]
            car = boxes(center, torch.zeros(1, dtype=torch.float64), seen)
            frames.append(BEVFrame(eye, 0.5 * step, car if show else car[:0]))
        return BEVClip(tuple(frames), past)

    protocol = PowerBEVMaps()
    columns = instance_centers(protocol(clip([True] * 5, [4] * 5), grid).ids)[0][:, 1, 0]
    assert (columns.diff() > 0).tolist() == [False, True, False, True]  # 0.6 m is not made, 1.2 m is
    gap = protocol(clip([True, True, True, False, True], [4] * 5), grid).ids
    assert gap.flatten(1).any(dim=1).all()
    late = protocol(clip([False, False, False, True, True], [4] * 5), grid).ids
    assert not late.any()
    assert not protocol(clip([True] * 5, [1, 1, 1, 4, 4]), grid).ids.any()
    unknown = protocol(clip([True] * 5, [0] * 5), grid).ids
    assert unknown.flatten(1).any(dim=1).all()
    hidden = protocol(clip([True] * 5, [4, 1, 1, 1, 1]), grid).ids
    assert hidden.flatten(1).any(dim=1).all()
    leaving = protocol(clip([True] * 5, [4] * 5, path + torch.tensor([17.0, 0.0])), grid).ids
    assert leaving.flatten(1).any(dim=1).tolist() == [True, True, False, False, False]
    fiery = FieryMaps()(clip([True, True, True, False, True], [4, 1, 4, 4, 0], path + torch.tensor([17.5, 0.0])), grid)
    assert fiery.in_present().flatten(1).any(dim=1).tolist() == [True, False, True, False, True]


def test_backward_flow_leads_home():
    ids = PowerBEVMaps()(traffic(2), GRID).ids
    flow, centers = backward_flow(ids), instance_centers(ids)[0].round()
    for step, y, x in torch.nonzero(ids)[::97].tolist():
        index = ids[step, y, x]
        expected = centers[max(step - 1, 0), index] - torch.tensor([x, y])
        vector = flow[step, :, y, x].double()
        assert torch.equal(vector, expected) or (expected.isnan().all() and (vector == 255).all())
    assert (flow[(ids == 0)[:, None].expand_as(flow)] == 255).all()
    paths = trajectories(ids)
    assert set(paths) == set(ids.unique().tolist()) - {0}


def test_decoding_a_batch_equals_decoding_one_by_one():
    generator = torch.Generator().manual_seed(0)
    coder = InstanceFlowCoder(GRID)
    segmentation = torch.randn(3, 4, 2, *GRID.shape, generator=generator)
    segmentation[1, :, 1] -= 99  # nothing there
    segmentation[2, 0, 1] -= 99  # nothing there a frame ago: no centres
    raw = coder.flawless(dict(segmentation=torch.zeros(3, 4, *GRID.shape, dtype=torch.int64),
                              flow=torch.zeros(3, 4, 2, *GRID.shape),
                              instance=torch.zeros(3, 3, *GRID.shape, dtype=torch.int64)))
    raw = raw._replace(segmentation=segmentation, flow=torch.randn(3, 4, 2, *GRID.shape, generator=generator) * 5)
    together = coder.decode(raw)
    assert together[0].ids[0].any() and not together[1].ids.any() and not together[2].ids.any()
    for index, result in enumerate(together):
        alone = coder.decode(raw._replace(segmentation=raw.segmentation[index, None], flow=raw.flow[index, None]))[0]
        assert torch.equal(alone.ids, result.ids) and torch.equal(alone.probability, result.probability)
    bad = coder.decode(raw._replace(flow=torch.full_like(raw.flow, float("nan"))))  # garbage in, no crash
    assert bad[0].ids.shape == (3, *GRID.shape)


def test_kernel_is_odd():
    assert nms_kernel_size(BEVGrid(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5))) == 7
    assert nms_kernel_size(BEVGrid(x=(-16.0, 16.0, 0.5), y=(-16.0, 16.0, 0.5))) == 23  # round(350 / 16) = 22
    for kernel in (-3, 0):
        with pytest.raises(ValueError, match="use 1"):
            InstanceCenterCoder(GRID, nms_kernel=kernel)
    with pytest.raises(ValueError, match="reaches forward"):
        InstanceFlowCoder(BEVGrid(x=(-50.0, -10.0, 0.5), y=(-20.0, 20.0, 0.5)))
    with pytest.raises(ValueError, match="use 9"):
        InstanceFlowCoder(GRID, nms_kernel=8)
    with pytest.raises(ValueError, match="native"):
        InstanceFlowCoder(GRID, "power")


def test_occupancy_coder():
    coder = MODELS.build(dict(type="OccupancyCoder", grid=GRID,
                              protocol=dict(type="PowerBEVMaps", drop_invisible=False)))
    targets = coder.encode(traffic(0, past=1, future=0))
    assert targets["segmentation"].shape == targets["instance"].shape == (1, *GRID.shape)
    logits = torch.nn.functional.one_hot(targets["segmentation"], 2).movedim(-1, 1)[None].float()  # [1 1 2 Y X]
    ids = coder.decode((logits,))[0].ids
    assert instance_scores(count_instances(ids, targets["instance"]))["iou"] == pytest.approx(100)
