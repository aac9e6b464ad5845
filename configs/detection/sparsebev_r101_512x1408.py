"""SparseBEV, ResNet-101, 512x1408 images, five scales, 900 queries, eight frames.

Published (README of MCG-NJU/SparseBEV, val, backbone from nuImages): NDS 59.2. Measured here: not trained on nuScenes.

    bevkit train configs/detection/sparsebev_r101_512x1408.py --amp fp16
    bevkit test configs/detection/sparsebev_r101_512x1408.py CHECKPOINT
"""

_base_ = ["../_base_/sparsebev.py"]

model = dict(image_encoder=dict(neck=dict(extra_levels=1, extra="every_second"),
                                 backbone=dict(model_name="resnet101")))
images = dict(size=(512, 1408))
train_dataloader = dict(dataset=dict(images=images))
val_dataloader = dict(dataset=dict(images=images))
test_dataloader = val_dataloader
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"image_encoder.backbone": dict(lr_mult=0.2),
                                                     "sampling.offsets": dict(lr_mult=0.1)}))
