"""Lift-splat and the CenterPoint head on single frames, small enough for a test: nothing of it is published.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../_base_/runtime.py"]

model = dict(
    type="DenseBEV",
    grid=dict(x=(-51.2, 51.2, 3.2), y=(-51.2, 51.2, 3.2), z=(-5.0, 3.0, 8.0)),
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="UpsampleConcat", out_channels=16),
        backbone=dict(type="TimmBackbone", model_name="mobilenetv3_small_050", out_strides=(8, 16))),
    view_transformer=dict(type="LiftSplat", channels=16, depth=(2.0, 50.0, 4.0), image_size=(64, 96)),
    head=dict(type="CenterPointHead", shared_channels=16, branch_channels=8, coder=dict(type="CenterPointCoder")),
)

clips = dict(type="NuScenesClips", dataroot="data/world", version="v1.0-mini", past=1, images=dict(size=(64, 96)))
train_dataloader = dict(batch_size=2, num_workers=0, drop_last=True, collate_fn=dict(type="collate_clips"),
                        sampler=dict(type="ResumableSampler", shuffle=True), dataset=dict(clips, split="mini_train"))
val_dataloader = dict(batch_size=1, num_workers=0, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False), dataset=dict(clips, split="mini_val"))
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=2, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3), clip_grad=dict(max_norm=5.0))
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
