"""BEVFormer-small: ResNet-101, 720x1280 images, a map of 150 x 150 cells, one scale, two past keyframes.

Published (README of fundamentalvision/BEVFormer, ResNet-101-DCN): NDS 47.9, mAP 37.0. Measured here: not trained on
nuScenes; see docs/results.md for what was. With the authors' weights: see bevformer_base.py; cells are of 0.6827 m.

    bevkit train configs/detection/bevformer_small.py --amp fp16
    bevkit test configs/detection/bevformer_small.py CHECKPOINT --stream
"""

_base_ = ["../_base_/bevformer.py"]

model = dict(
    grid=dict(x=(-51.2, 51.2, 102.4 / 150), y=(-51.2, 51.2, 102.4 / 150)),
    image_encoder=dict(backbone=dict(out_strides=(32,)), neck=dict(extra_levels=0)),
    view_transformer=dict(layers=3, levels=1),
)
clips = dict(past=3, images=dict(size=(736, 1280), zoom=720 / 736))
train_dataloader = dict(dataset=dict(clips, at_scene_start="repeat"))
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
