"""MatrixVT (Zhou et al., ICCV 2023), ResNet-50, 256x704 images, 128 x 128 cells, one keyframe.

Published: 33.7 mAP, 41.4 NDS (val, as quoted in issue 166 of Megvii-BaseDetection/BEVDepth, whose author reached 31.5
and 38.6), with averaged weights and class-balanced sampling; no weights were released. Measured here: not trained on
nuScenes; see docs/results.md for what was.

    bevkit train configs/detection/matrixvt_r50_256x704.py --amp fp16
    bevkit test configs/detection/matrixvt_r50_256x704.py CHECKPOINT
"""

_base_ = ["../_base_/bevdepth.py"]

model = dict(image_encoder=dict(backbone=dict(frozen_stride=2)),
             view_transformer=dict(type="MatrixVT", hidden=512))
train_dataloader = dict(sampler=dict(type="ClassBalancedSampler"))
custom_hooks = [dict(type="PlainCheckpointHook"), dict(type="ProgressHook"),
                dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=1e-3, gamma=2000,
                     update_buffers=True)]
param_scheduler = []  # the rate stays
