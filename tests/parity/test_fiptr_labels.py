"""FipTR's labels equal the authors': masks of instances over time and their flow; and BEVerse's, their origin."""

import pytest
import torch

from bevkit.geometry.rigid import inverse, motion_matrix
from bevkit.models.coders import FipTRMaps, InstanceMaskCoder
from bevkit.models.coders.id_maps import (
    IGNORE,
    centerness,
    flow_of_masks,
    forward_flow,
    lasting_masks,
    offsets_to_centers,
)
from bevkit.models.coders.instance_maps import warp_maps
from bevkit.structures import BEVClip, BEVFrame, BEVGrid, Boxes3D
from bevkit.structures.classes import CLASSES, VEHICLES

# The authors' numbers of classes, by variant.
FIPTR = ("car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle", "bicycle", "pedestrian", "barrier",
         "traffic_cone")
BEVERSE = ("car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
           "traffic_cone")
VARIANTS = {"train255": FIPTR, "test": FIPTR, "beverse": BEVERSE}


@pytest.fixture(scope="module")
def truth(golden):
    return golden("instance/fiptr_labels.pt")


def boxes_of(rows, tokens, visibility, numbers, order, tracks):
    names = [order[number] for number in numbers]
    whole = torch.zeros(len(rows), dtype=torch.int64)
    return Boxes3D(centers=rows[:, :3].double(), sizes=rows[:, [4, 3, 5]].double(), yaws=rows[:, 6].double(),
                   velocities=torch.zeros(len(rows), 2, dtype=torch.float64),
                   labels=torch.tensor([CLASSES.index(name) for name in names], dtype=torch.int64),
                   track_ids=torch.tensor([tracks.setdefault(token, len(tracks) + 100) for token in tokens]),
                   visibility=torch.tensor(visibility), sensor_points=whole - 1, attributes=whole - 1,
                   vehicle=torch.tensor([name in VEHICLES for name in names], dtype=torch.bool))


def clip_of(truth, order):
    """The present and its future frames, each with its boxes in its own ego frame."""
    frames, tracks, pose = [], {}, torch.eye(4, dtype=torch.float64)
    count = truth["meta"]["config"]["frames"]
    rows = zip(truth["boxes"], truth["tokens"], truth["vis"], truth["cls"],
               motion_matrix(truth["future_egomotions"][-count:].double()))
    for index, (boxes, tokens, visibility, numbers, next_from_this) in enumerate(rows):
        frames.append(BEVFrame(pose, 0.5 * index, boxes_of(boxes, tokens, visibility, numbers, order, tracks)))
        pose = pose @ inverse(next_from_this)
    return BEVClip(tuple(frames), past=1)


def grid_of(config):
    return BEVGrid(x=config["xbound"], y=config["ybound"], z=config["zbound"])


def protocol_of(config, variant):
    return FipTRMaps(config["filter_invisible"],
                     center_range=config["train255_pcd_range"] if variant == "train255" else None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_maps(truth, variant):
    config, expected = truth["meta"]["config"], truth[variant]
    clip = clip_of(truth, VARIANTS[variant])
    for boxes, corners in zip((frame.boxes for frame in clip.frames), truth["corners_bottom"]):
        assert torch.cdist(boxes.corners[:, :4, :2].float(), corners).amin(dim=2).max() <= 1e-4
    drawn = protocol_of(config, variant)(clip, grid_of(config))
    ids = drawn.ids if variant == "beverse" else drawn.in_present()
    assert torch.equal(ids, expected["motion_instance"].long())
    assert torch.equal(ids > 0, expected["motion_segmentation"].bool())
    torch.testing.assert_close(centerness(drawn.ids, config["sigma"]), expected["instance_centerness"],
                               rtol=1e-5, atol=1e-7)
    offsets = offsets_to_centers(drawn.ids).flip(1)  # the authors' channel 0 is y
    assert torch.equal(offsets, expected["instance_offset"].float())


def test_flow_of_beverse(truth):
    config = truth["meta"]["config"]
    drawn = protocol_of(config, "beverse")(clip_of(truth, BEVERSE), grid_of(config))
    flow = forward_flow(drawn.ids, warp_maps(drawn.ids[1:], drawn.to_previous)).flip(1)
    assert torch.equal(flow, truth["beverse"]["instance_flow"].float())


@pytest.mark.parametrize("variant", ["train255", "test"])
def test_masks_and_flow(truth, variant):
    config, expected = truth["meta"]["config"], truth[variant]
    clip = clip_of(truth, FIPTR)
    coder = InstanceMaskCoder(grid_of(config), protocol_of(config, variant))
    targets = coder.encode(clip)
    count = len(expected["gt_masks"])
    assert torch.equal(targets["masks"][:count], expected["gt_masks"].bool()) and not targets["masks"][count:].any()
    assert ((targets["labels"] >= 0) == (torch.arange(coder.max_truth) < count)).all()
    flow = targets["flow"].flip(1)
    if variant == "test":
        flow = torch.where(flow == IGNORE, 0.0, flow)  # the authors' test labels know nothing to ignore
    assert torch.equal(flow, expected["gt_backward_flow"])
    given = truth["boxes"][0][:, [0, 1, 2, 4, 3, 5, 6]]  # length before width
    assert (torch.cdist(targets["boxes"][:count, :7], given).amin(dim=1) <= 1e-5).all()


@pytest.mark.parametrize("variant", ["train255", "test"])
def test_forward_flow(truth, variant):
    """With time turned round the flow backward is the flow forward, which the authors' labels have too."""
    config, expected = truth["meta"]["config"], truth[variant]
    drawn = protocol_of(config, variant)(clip_of(truth, FIPTR), grid_of(config))
    masks = lasting_masks(drawn.in_present(), len(drawn.tracks))
    flow = flow_of_masks(masks.flip(1)).flip(0).flip(1)
    if variant == "test":
        flow = torch.where(flow == IGNORE, 0.0, flow)
    assert torch.equal(flow, expected["instance_flow"])
