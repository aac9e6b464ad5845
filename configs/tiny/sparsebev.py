"""SparseBEV small enough for a test: every part of the published model, a fraction of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../_base_/sparsebev.py"]

frames = 3

model = dict(
    image_encoder=dict(neck=dict(out_channels=32),
                       backbone=dict(model_name="mobilenetv3_small_050", norm_eval=False, frozen_stride=0)),
    head=dict(frames=frames, queries=49, layers=2, heads=4, points=2, ffn_channels=32, out_points=8, denoising=2),
)

clips = dict(dataroot="data/world", version="v1.0-mini", past=frames)
train_dataloader = dict(batch_size=2, num_workers=0,
                        dataset=dict(clips, split="mini_train", images=dict(size=(64, 96))))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val", images=dict(size=(64, 96))))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
