"""SparseBEV's decoder and head against the authors' tensors, part by part."""

import torch

from bevkit.importers.boxes import AUTHORS_CLASSES
from bevkit.importers.sparsebev import translate_sparsebev
from bevkit.models.coders import QueryBoxCoder
from bevkit.models.heads.sparse import SparseQueryHead
from bevkit.models.layers.sparse_decoder import SparseViews, centers_of
from bevkit.ops.multi_view_sampling import stack_views
from bevkit.structures.classes import CLASSES
from tests.parity.detection import assert_same_boxes, close


def head_of(data: dict, prefix: str = "") -> SparseQueryHead:
    config = data["meta"]["config"]
    head = SparseQueryHead(config["embed_dims"], config["frames"], config["pc_range"], config["num_query"],
                           config["num_layers"], config["num_classes"], heads=config["self_attn_heads"],
                           groups=config["groups"], points=config["points"], levels=config["levels"],
                           ffn_channels=config["ffn_channels"], out_points=config["mixing_out_points"],
                           scale_weights="shuffled")
    state = translate_sparsebev({prefix + name: value for name, value in data["state_dict"].items()},
                                head.state_dict(), "ego").state
    state = {name.removeprefix("head."): value for name, value in state.items()}
    missing, unexpected = head.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"boxes", "labels.weight"}
    return head.eval()


def views_of(data: dict) -> SparseViews:
    inputs, config = data["inputs"], data["meta"]["config"]
    frames, cameras = config["frames"], config["num_cams"]
    features = [level.float().unflatten(1, (frames, cameras)).flatten(0, 1) for level in inputs["mlvl_feats"]]
    times = inputs["img_timestamp"].unflatten(1, (frames, cameras))
    ages = (times[:, :1] - times).mean(dim=2).float()
    height, width = inputs["img_hw"][:2]
    scale = torch.diag(torch.tensor([1 / width, 1 / height, 1.0]))
    projection = scale @ inputs["lidar2img"].unflatten(1, (frames, cameras))[..., :3, :]
    return SparseViews(*stack_views(features, config["groups"]), projection, ages)


def in_our_order(scores: torch.Tensor) -> torch.Tensor:
    return scores[..., [AUTHORS_CLASSES.index(name) for name in CLASSES]]


@torch.no_grad()
def test_parts_of_the_decoder(golden):
    data = golden("detection/sparsebev_decoder.pt")
    head, views, outputs, meta = head_of(data), views_of(data), data["outputs"], data["meta"]
    query, boxes = data["inputs"]["query_feat"], data["inputs"]["query_bbox"]
    layer, centers = head.layer, centers_of(boxes, head.bounds)
    samples = layer.sampling(query, boxes, centers, views)
    refined, after, scores = layer(query, boxes, head.bounds, views)
    for name, ours in {
            "time_diff": views.ages, "self_attn": layer.attention(query, centers),
            "self_attn_masked": layer.attention(query, centers, data["inputs"]["dn_mask"]),
            "sample_points_xyz": layer.sampling.points_in(query, boxes, centers), "sampled_feat": samples,
            "mixing": layer.mixing(query, samples), "layer_feat": refined, "layer_cls": scores, "layer_bbox": after,
    }.items():
        wanted = in_our_order(outputs[name]) if name == "layer_cls" else outputs[name]
        assert close(ours, wanted, meta, name), name


@torch.no_grad()
def test_all_layers_of_the_decoder(golden):
    data = golden("detection/sparsebev_decoder.pt")
    head, views, outputs, meta = head_of(data), views_of(data), data["outputs"], data["meta"]
    query, boxes = data["inputs"]["query_feat"], data["inputs"]["query_bbox"]
    for scores, wanted in zip(outputs["all_cls_scores"], outputs["all_bbox_preds"], strict=True):
        query, boxes, found = head.layer(query, boxes, head.bounds, views)
        assert close(found, in_our_order(scores), meta, "all_cls_scores")
        assert close(boxes, wanted, meta, "all_bbox_preds")


@torch.no_grad()
def test_the_head(golden):
    decoder, data = golden("detection/sparsebev_decoder.pt"), golden("detection/sparsebev_head.pt")
    head, views, outputs = head_of(data), views_of(decoder), data["outputs"]
    head.train()  # every layer answers
    for module in head.modules():
        module.training = module is head
    raw = head(views)
    assert close(raw.scores, in_our_order(outputs["all_cls_scores"]), data["meta"])
    assert close(raw.boxes, outputs["all_bbox_preds"], data["meta"])
    config = data["meta"]["config"]["coder"]
    head.coder = QueryBoxCoder(None, CLASSES, config["max_num"], config["score_threshold"],
                               config["post_center_range"], relax_threshold=True)
    for ours, theirs in zip(head.predict(raw), outputs["decoded"], strict=True):
        assert_same_boxes(ours, theirs, list(AUTHORS_CLASSES), data["meta"])


def test_queries_begin_as_the_authors(golden):
    data = golden("detection/sparsebev_head.pt")
    torch.manual_seed(0)
    fixed = [0, 1, 2, 5, 8, 9]
    ours = SparseQueryHead(32, 1, data["meta"]["config"]["pc_range"], data["meta"]["config"]["num_query"]).boxes
    assert close(ours[:, fixed], data["default_init_query_bbox"][:, fixed], data["meta"])
