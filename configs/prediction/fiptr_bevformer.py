"""FipTR's head on the map of BEVFormer's encoder, which looks into the images and at its own last map.

No lift, no fusion of maps and no network on the plane: the map of the present comes with its past and goes straight
into the head. The published sizes are those of fiptr_lss.py; BEVFormer has three layers here, as its small models do.
Published: the authors name such a variant; no numbers of it are known here. Measured here: not trained on nuScenes.

    bevkit train configs/prediction/fiptr_bevformer.py --amp fp16
    bevkit test configs/prediction/fiptr_bevformer.py CHECKPOINT
"""

_base_ = ["../_base_/fiptr.py"]

model = dict(
    grid=dict(z=(-5.0, 3.0, 8.0)),
    image_encoder=dict(neck=dict(_delete_=True, type="FPN", out_channels=256), backbone=dict(out_strides=(8, 16, 32))),
    view_transformer=dict(type="BEVFormer", layers=3, levels=3),
    bev_encoder=None,
)
# In training what a scene does not show is what its end or beginning shows.
train_dataloader = dict(dataset=dict(at_scene_start="repeat", at_scene_end="repeat"))
# FIERY's way to score 30 m x 30 m: the middle of this map.
val_evaluator = dict(ranges={"100x100": None, "30x30": (15.0, 15.0)})
test_evaluator = val_evaluator
