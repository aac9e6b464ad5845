"""The authors' centre heads (BEVDet dev2.1, BEVDepth): maps, targets, losses, decoding and every suppression."""

import pytest
import torch

from bevkit.importers.centerpoint import translate_centerpoint
from bevkit.models.coders import CenterPointCoder
from bevkit.models.coders.boxes import detections
from bevkit.models.heads import CenterPointHead, CenterPointOutput
from tests.parity.detection import assert_same_boxes, close, grid_of, task_names, truth_clip

FILES = ["centerhead", "bevdepth_head"]


@pytest.fixture(scope="module", params=FILES)
def case(request, golden):
    return golden(f"detection/{request.param}.pt")


def coder_of(data: dict, nms: list | dict | None = None) -> CenterPointCoder:
    config = data["meta"]["config"]
    coder, train, test = config["bbox_coder"], config["train_cfg"], config["test_cfg"]
    return CenterPointCoder(
        grid_of(config), task_names(config), nms or circles(config), coder["max_num"], test["post_max_size"],
        test["pre_max_size"], coder["score_threshold"], coder["post_center_range"], config["gaussian"]["min_overlap"],
        config["gaussian"]["min_radius"], train["max_objs"] * train["dense_reg"], indexing="truncate")


def circles(config: dict) -> list[dict]:
    return [dict(kind="circle", squared_distance=value) for value in config["test_cfg"]["min_radius"]]


def scale_nms(config: dict) -> list[dict]:
    test = config["test_cfg"]
    return [dict(kind="rotated", overlap=overlap, scale=scale) if kind == "rotate" else circle
            for kind, overlap, scale, circle in zip(test["nms_type"], test["nms_thr"], test["nms_rescale_factor"],
                                                    circles(config))]


def head_of(data: dict, in_channels: int, **options) -> CenterPointHead:
    config, coder = data["meta"]["config"], coder_of(data)
    return CenterPointHead(coder.grid, in_channels, config["share_conv_channel"], config["head_conv"], coder,
                           config["loss_cls"]["weight"], config["loss_bbox"]["weight"],
                           config["train_cfg"]["code_weights"], **options)


def raw_of(data: dict) -> CenterPointOutput:
    """The authors' maps in our layout."""
    tasks = data["outputs"]["preds"]
    names = ("reg", "height", "dim", "rot", "vel")
    return CenterPointOutput(torch.cat([task["heatmap"] for task in tasks], dim=1),
                             *(torch.stack([task[name] for task in tasks], dim=1) for name in names))


def targets_of(data: dict) -> dict[str, torch.Tensor]:
    config = data["meta"]["config"]
    names, coder = sum(task_names(config), []), coder_of(data)
    samples = [coder.encode(truth_clip(boxes, labels, names))
               for boxes, labels in zip(data["inputs"]["gt_boxes"], data["inputs"]["gt_labels"])]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def test_maps(golden):
    data = golden("detection/centerhead.pt")
    head = torch.nn.ModuleDict(dict(head=head_of(data, data["meta"]["config"]["in_channels"])))
    translation = translate_centerpoint(data["state_dict"], head.state_dict())
    assert translation.unknown == []
    head.load_state_dict(translation.state)
    with torch.no_grad():
        raw = head.eval()["head"](data["inputs"]["x"])
    for ours, theirs in zip(raw, raw_of(data)):
        assert close(ours, theirs, data["meta"])


def test_targets(case):
    ours, theirs = targets_of(case), case["outputs"]["targets"]
    assert close(ours["heatmap"], torch.cat(theirs["heatmaps"], dim=1), case["meta"], "heatmaps")
    for task in range(len(theirs["inds"])):
        assert torch.equal(ours["cells"][:, task], theirs["inds"][task])
        assert torch.equal(ours["used"][:, task], theirs["masks"][task].bool())
        assert close(ours["codes"][:, task], theirs["anno_boxes"][task], case["meta"])


def test_losses(case):
    outputs, part = case["outputs"], "losses" in case["outputs"]
    losses = head_of(case, 8, loss_by_attribute=part).loss(raw_of(case), targets_of(case))
    if not part:
        assert close(sum(losses.values()), outputs["loss"], case["meta"])
        return
    names = dict(heatmap="heatmap", offset="xy", height="z", size="whl", heading="yaw", velocity="vel")
    assert len(losses) == len(outputs["losses"])
    for name, value in losses.items():
        task, _, attribute = name.replace(".loss_", " ").partition(" ")
        assert close(value, outputs["losses"][f"{task}.loss_{names[attribute]}"], case["meta"]), name


def test_candidates(golden):
    data = golden("detection/centerhead.pt")
    coder, raw, config = coder_of(data), raw_of(data), data["meta"]["config"]
    codes, scores = torch.cat(raw[1:], dim=2), raw.heatmap.sigmoid()
    counts = [len(task) for task in task_names(config)]
    for task, samples in enumerate(data["outputs"]["decoded_pre_nms"]):
        for sample, theirs in enumerate(samples):
            found = coder.candidates(scores[sample].split(counts)[task], codes[sample, task])
            names = task_names(config)[task]
            assert_same_boxes(detections(*found[:2], coder.labels[task][found[2]]), theirs, names, data["meta"])


@pytest.mark.parametrize("file, output, bottom", [
    ("centerhead", "det_scale_nms", True), ("centerhead", "det_circle_nms", True),
    ("bevdepth_head", "det_circle", False), ("bevdepth_head", "det_size_aware", False)])
def test_boxes(golden, file, output, bottom):
    data = golden(f"detection/{file}.pt")
    config = data["meta"]["config"]
    nms = {"det_scale_nms": scale_nms, "det_size_aware": lambda config: [
        dict(kind="size_aware", scale=scale) for scale in config["test_cfg"]["thresh_scale"]]}.get(output, circles)
    found = coder_of(data, nms(config)).decode(raw_of(data))
    for ours, theirs in zip(found, data["outputs"][output], strict=True):
        assert_same_boxes(ours, theirs, sum(task_names(config), []), data["meta"], bottom)
