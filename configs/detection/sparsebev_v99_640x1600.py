"""SparseBEV, V2-99, 640x1600 images, five scales, 1600 queries, eight frames.

Published only with seven future frames besides (sparsebev_v99_640x1600_future.py). Measured here: not trained on
nuScenes.

    bevkit train configs/detection/sparsebev_v99_640x1600.py --amp fp16
    bevkit test configs/detection/sparsebev_v99_640x1600.py CHECKPOINT
"""

_base_ = ["../_base_/sparsebev.py"]

model = dict(
    image_encoder=dict(neck=dict(extra_levels=1, extra="every_second"),
                       backbone=dict(model_name="ese_vovnet99b", gated_blocks="all")),
    head=dict(queries=1600))
images = dict(size=(640, 1600))
train_dataloader = dict(dataset=dict(images=dict(images, zoom=(0.94, 1.25))))
val_dataloader = dict(dataset=dict(images=images))
test_dataloader = val_dataloader
