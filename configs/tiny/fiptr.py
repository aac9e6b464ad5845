"""FipTR small enough for a test: every part of the published model, a fraction of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../_base_/fiptr.py"]

model = dict(
    grid=dict(x=(-16.0, 16.0, 1.0), y=(-16.0, 16.0, 1.0), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(
        neck=dict(out_channels=16),
        backbone=dict(_delete_=True, type="TimmBackbone", model_name="mobilenetv3_small_050", out_strides=(8, 16))),
    view_transformer=dict(type="LiftSplat", channels=8, depth=(2.0, 26.0, 2.0), image_size=(64, 96)),
    temporal=dict(type="SpatioTemporalFusion", past=2, channels=8, residual=True),
    bev_encoder=dict(stages=(16, 16, 32), channels=16, blocks=(1, 1, 1)),
    head=dict(queries=20, layers=2, future_layers=1, heads=4, points=2, ffn_channels=32),
)

clips = dict(dataroot="data/world", version="v1.0-mini")
images = dict(_delete_=True, size=(64, 96))
train_dataloader = dict(batch_size=2, num_workers=0, drop_last=True,
                        dataset=dict(clips, split="mini_train", images=images))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val", images=images))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
param_scheduler = []
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
