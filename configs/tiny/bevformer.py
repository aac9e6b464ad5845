"""BEVFormer small enough for a test: every part of the published model, a fraction of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../_base_/bevformer.py"]

model = dict(
    grid=dict(x=(-51.2, 51.2, 5.12), y=(-51.2, 51.2, 5.12), z=(-5.0, 3.0, 8.0)),
    image_encoder=dict(backbone=dict(model_name="mobilenetv3_small_050", out_strides=(16, 32), norm_eval=False,
                                     frozen_stride=0),
                       neck=dict(out_channels=16, extra_levels=0)),
    view_transformer=dict(layers=2, levels=2, heads=4, ffn_channels=32),
    head=dict(queries=20, layers=2, heads=4, ffn_channels=32),
)

clips = dict(dataroot="data/world", version="v1.0-mini", past=2, images=dict(size=(64, 96), zoom=1.0, crop=(0.5, 1.0)))
train_dataloader = dict(batch_size=2, num_workers=0, drop_last=True, dataset=dict(clips, split="mini_train"))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
param_scheduler = []
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
