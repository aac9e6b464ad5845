"""SparseBEV, ResNet-50, 256x704 images, 400 queries, eight frames, 36 epochs.

Published (README of MCG-NJU/SparseBEV, val, backbone from nuImages): NDS 55.8. Measured here: not trained on nuScenes.

    bevkit train configs/detection/sparsebev_r50_256x704_400q.py --amp fp16
    bevkit test configs/detection/sparsebev_r50_256x704_400q.py CHECKPOINT
"""

_base_ = ["../_base_/sparsebev.py"]

model = dict(head=dict(queries=400))
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, begin=0, end=500, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=36, eta_min_ratio=1e-3, by_epoch=True, convert_to_iter_based=True),
]
