"""SparseBEV for the synthetic world, narrowed until it trains on two CPU cores: two keyframes, 196 queries.

The image backbone is that of powerbev_static.py, whose weights are a good start. Measured here: held-out mAP 0.005
after 600 steps, docs/results.md.

    bevkit train configs/synthetic/sparsebev.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
    bevkit test configs/synthetic/sparsebev.py CHECKPOINT
"""

_base_ = ["../_base_/sparsebev.py"]

frames = 2

model = dict(
    image_encoder=dict(neck=dict(out_channels=64),
                       backbone=dict(model_name="regnety_002", out_strides=(8, 16, 32), norm_momentum=0.05,
                                     norm_eval=False, frozen_stride=0)),
    head=dict(frames=frames, bounds=(-38.4, -38.4, -5.0, 38.4, 38.4, 3.0), queries=196, layers=3, heads=4,
              ffn_channels=128, out_points=32, denoising=5))

clips = dict(dataroot="data/world", version="v1.0-mini", past=frames)
images = dict(size=(112, 224))
train_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict(clips, split="mini_train", images=dict(_delete_=True, **images),
                 pipeline=[dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-10.0, 10.0))]))
val_dataloader = dict(num_workers=1, dataset=dict(clips, split="mini_val", images=images))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=6, val_interval=6)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=6, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False)
