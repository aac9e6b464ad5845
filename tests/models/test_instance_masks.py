"""Laws of the masks of instances: under each box its mask, who vanishes stays, and the flow leads back."""

import pickle
from dataclasses import replace

import pytest
import torch

from bevkit.models.coders import FipTRMaps, InstanceMaskCoder
from bevkit.models.coders.id_maps import IGNORE, flow_of_masks, lasting_masks
from bevkit.registry import MODELS
from bevkit.structures import Boxes3D
from bevkit.structures.classes import CLASSES
from tests.models.test_coders import GRID, traffic

PROTOCOLS = ["fiptr", "fiery", "native", "powerbev"]


def changed(clip, step, change):
    """The clip with other boxes in one frame."""
    frames = [replace(frame, boxes=change(frame.boxes)) if index == step else frame
              for index, frame in enumerate(clip.frames)]
    return replace(clip, frames=tuple(frames))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("past", "future"), [(3, 4), (1, 1), (2, 0)])
def test_shapes(protocol, past, future):
    coder = pickle.loads(pickle.dumps(MODELS.build(dict(type="InstanceMaskCoder", grid=GRID, protocol=protocol,
                                                        max_truth=20))))
    targets = coder.encode(traffic(0, past, future))
    shapes = dict(boxes=(20, 9), labels=(20,), masks=(20, future + 1, *GRID.shape), flow=(future, 2, *GRID.shape),
                  instance=(future + 1, *GRID.shape))
    kinds = dict(boxes=torch.float32, labels=torch.int64, masks=torch.bool, flow=torch.float32, instance=torch.int64)
    assert {name: tuple(value.shape) for name, value in targets.items()} == shapes
    assert {name: value.dtype for name, value in targets.items()} == kinds
    assert all(value.is_contiguous() for value in targets.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mask_lies_under_its_box_and_is_one_instance(protocol):
    clip = traffic(1)
    targets = InstanceMaskCoder(GRID, protocol).encode(clip)
    real = targets["labels"] >= 0
    assert real.any() and not targets["masks"][~real].any() and not targets["boxes"][~real].any()
    present, instance = clip.present.boxes, targets["instance"]
    for box, masks in zip(targets["boxes"][real], targets["masks"][real]):
        row, column = masks[0].nonzero().double().mean(dim=0)
        place = GRID.cells_from_metric(box[:2]) - 0.5
        if 3 < place[0] < GRID.shape[1] - 4 and 3 < place[1] < GRID.shape[0] - 4:
            assert (place - torch.stack((column, row))).abs().max() < 1.2
        assert (present.centers[:, :2].float() - box[:2]).abs().sum(dim=1).min() == 0
        (index,) = instance[0][masks[0]].unique()
        for ids, mask in zip(instance, masks):
            assert torch.equal(ids == index, mask) or not (ids == index).any()


def test_boxes_are_those_drawn_in_the_present():
    clip = traffic(2)
    now, boxes = clip.past - 1, clip.present.boxes
    whole = InstanceMaskCoder(GRID).encode(clip)
    found = {tuple(box.tolist()) for box in whole["boxes"][whole["labels"] >= 0][:, :3]}

    def without(names):
        targets = InstanceMaskCoder(GRID).encode(changed(clip, now, names))
        return found - {tuple(box.tolist()) for box in targets["boxes"][targets["labels"] >= 0][:, :3]}

    shown = next(index for index, center in enumerate(boxes.centers) if tuple(center.float().tolist()) in found)
    one = torch.arange(len(boxes)) == shown
    place = {tuple(boxes.centers[shown].float().tolist())}
    assert without(lambda part: replace(part, visibility=torch.where(one, 1, part.visibility))) == place
    assert without(lambda part: replace(part, labels=torch.where(one, -1, part.labels))) == place
    assert without(lambda part: replace(part, vehicle=part.vehicle & ~one)) == place
    assert without(lambda part: part[~one]) == place
    reach = float(boxes.centers[shown, 0])
    protocol = FipTRMaps(center_range=(reach + 1e-3, -50, -5, 50, 50, 3))
    targets = InstanceMaskCoder(GRID, protocol).encode(clip)
    assert (targets["boxes"][targets["labels"] >= 0][:, 0] > reach).all()


def test_classes_have_the_places_of_the_scores():
    def trucks(part):
        return replace(part, labels=torch.full_like(part.labels, CLASSES.index("truck")))

    clip = traffic(3)
    clip = changed(clip, clip.past - 1, trucks)
    for classes, label in ((("car", "truck"), 1), (("truck",), 0)):
        labels = InstanceMaskCoder(GRID, classes=classes).encode(clip)["labels"]
        assert labels.max() == label and set(labels.tolist()) == {-1, label}
    targets = InstanceMaskCoder(GRID, classes=("car",)).encode(clip)
    assert (targets["labels"] == -1).all() and not targets["masks"].any() and targets["instance"].any()


def test_without_room_the_nearest_are_kept():
    clip = traffic(4)
    whole, near = (InstanceMaskCoder(GRID, max_truth=count).encode(clip) for count in (20, 3))
    boxes = whole["boxes"][whole["labels"] >= 0]
    nearest = boxes[:, :2].norm(dim=1).argsort()[:3].sort().values
    assert torch.equal(near["boxes"], boxes[nearest]) and torch.equal(near["masks"], whole["masks"][nearest])
    assert torch.equal(near["flow"], whole["flow"])  # all of them move


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_flow_leads_from_centre_to_centre(protocol):
    targets = InstanceMaskCoder(GRID, protocol).encode(traffic(5))
    masks, flow = targets["masks"][targets["labels"] >= 0], targets["flow"]
    centers = torch.tensor([[mask.nonzero().float().mean(dim=0).flip(0).tolist() for mask in frames]
                            for frames in masks])  # [A F+1 2] (x, y)
    for index, frames in enumerate(masks):
        for step, vectors in enumerate(flow):
            move = vectors[:, frames[step + 1]].T
            torch.testing.assert_close(move, (centers[index, step] - centers[index, step + 1]).expand_as(move),
                                       rtol=1e-4, atol=1e-4)
    covered = lasting_masks(targets["instance"], int(targets["instance"].max())).any(dim=0)[1:]
    assert (flow.movedim(1, 0)[:, ~covered] == IGNORE).all()


def test_who_vanishes_stays_and_who_comes_has_no_flow_at_first():
    ids = torch.zeros(4, 5, 6, dtype=torch.int64)
    ids[0, 1, 1] = ids[1, 1, 2] = ids[3, 2, 4] = 1  # gone in frame 2
    ids[2, 3, 3] = ids[3, 3, 4] = 2  # comes in frame 2
    masks = lasting_masks(ids, 3)
    assert masks.shape == (3, 4, 5, 6) and not masks[2].any() and not masks[1, :2].any()
    assert torch.equal(masks[0, 2], masks[0, 1]) and masks[0].flatten(1).sum(1).tolist() == [1, 1, 1, 1]
    flow = flow_of_masks(masks)
    assert flow[0, :, 1, 2].tolist() == [-1, 0] and flow[1, :, 1, 2].tolist() == [0, 0]
    assert flow[2, :, 2, 4].tolist() == [-2, -1] and flow[2, :, 3, 4].tolist() == [-1, 0]
    assert (flow != IGNORE).sum() == 8  # nothing else, and nothing where the second one appears


def test_of_masks_that_overlap_the_later_number_wins():
    masks = torch.zeros(2, 2, 3, 4, dtype=torch.bool)
    masks[0, :, 1, 1:3] = True
    masks[1, 0, 0, 1] = masks[1, 1, 1, 2] = True
    assert flow_of_masks(masks)[0, :, 1, 1:3].T.tolist() == [[0, 0], [-1, -1]]


def test_empty_scene():
    clip = traffic(0)
    empty = replace(clip, frames=tuple(replace(frame, boxes=Boxes3D.empty()) for frame in clip.frames))
    targets = InstanceMaskCoder(GRID).encode(empty)
    assert (targets["labels"] == -1).all() and not targets["masks"].any() and (targets["flow"] == IGNORE).all()
    with pytest.raises(ValueError, match="no boxes"):
        InstanceMaskCoder(GRID).encode(replace(clip, frames=(*clip.frames[:-1], replace(clip.frames[-1], boxes=None))))
