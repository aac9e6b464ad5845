"""BEVDepth, ResNet-50, 256x704 images, 128 x 128 cells, two keyframes (the authors' "2key").

Published (README of Megvii-BaseDetection/BEVDepth, val): 33.0 mAP, 43.6 NDS after 24 epochs; with averaged weights
33.3, 44.1; with class-balanced sampling and depth aggregation 34.8, 48.1 (the second line below). Measured here: not
trained on nuScenes; see docs/results.md for what was. The authors lift the past frame straight into the present ego
frame, without gradients and without its depth labels; here its map is warped, and both frames learn. The authors'
weights need the options that `bevkit import-checkpoint` names.

    bevkit train configs/detection/bevdepth_r50_256x704.py --amp fp16
    bevkit train configs/detection/bevdepth_r50_256x704.py --amp fp16 --set train_cfg.max_epochs=20 \\
        param_scheduler.0.milestones=[16,19] train_dataloader.sampler.type=ClassBalancedSampler \\
        model.view_transformer.aggregate_depth=True
    bevkit test configs/detection/bevdepth_r50_256x704.py CHECKPOINT
"""

_base_ = ["../_base_/bevdepth.py"]

model = dict(image_encoder=dict(backbone=dict(frozen_stride=2)),
             temporal=dict(type="AlignAndStack", past=1, ego_motion=False),
             head=dict(code_weights=(1.0,) * 10))  # velocity counts in full where two frames show it
train_dataloader = dict(dataset=dict(past=2, at_scene_start="repeat"))
val_dataloader = dict(dataset=dict(past=2, at_scene_start="repeat"))
test_dataloader = val_dataloader
