"""FipTR (Gui et al., ECCV 2024) at its published size, up to how the map is made, which the child configs set.

Training as published: 20 epochs, AdamW 2e-4, weight decay 0.01, cosine (the warm-up is BEVFormer's), batch 1 on each
of 8 GPUs, gradient norm 35, ImageNet weights for the backbone (``--set model.image_encoder.backbone.pretrained=True``).
Images are resized to 0.38 to 0.55 in training and to 0.48 in tests. Not as published: boxes are sought within the map
(the authors: within 51.2 m, 5 m below and 3 m above), and the position of a cell tells its future queries where to look
but does not stay in them; `bevkit import-checkpoint` names what the authors' weights want otherwise.
"""

_base_ = ["runtime.py"]

past, future = 3, 4  # keyframes at 2 Hz: 1 s of past with the present, 2 s of future

model = dict(
    type="DenseBEV",
    grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="UpsampleConcat", out_channels=512, align_corners=True),
        backbone=dict(type="TimmBackbone", model_name="swin_tiny_patch4_window7_224", out_strides=(16, 32),
                      output_norm=True)),
    bev_encoder=dict(type="ResidualFPN", stages=(128, 256, 512), channels=256, block="bottleneck"),
    head=dict(type="FipTRHead", future=future, queries=500, coder=dict(
        type="InstanceQueryCoder", threshold=0.3, labels=dict(type="InstanceMaskCoder", protocol="fiptr"))),
)

clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=past, future=future)
images = dict(size=(256, 704))
train_dataloader = dict(
    batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
    sampler=dict(type="ResumableSampler", shuffle=True),
    dataset=dict(clips, split="train",
                 images=dict(images, zoom=(0.864, 1.25), crop=((0.0, 1.0), 1.0), flip=0.5, rotate=(-5.4, 5.4)),
                 pipeline=[dict(type="BEVJitter", rotate=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5)]))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(clips, split="val", images=dict(images, zoom=12 / 11)))
test_dataloader = val_dataloader
val_evaluator = dict(type="FutureInstanceMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=20, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01),
                     clip_grad=dict(max_norm=35.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True, T_max=20, eta_min_ratio=1e-3),
]
auto_scale_lr = dict(enable=True, base_batch_size=8)
