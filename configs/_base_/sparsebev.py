"""SparseBEV (Liu et al., ICCV 2023) with ResNet-50 at 256x704: 900 queries, eight frames; child configs change it.

Training as published: AdamW 2e-4 at a global batch of 8, a tenth of the rate for backbone and sampling offsets, weight
decay 0.01, cosine to zero over 24 epochs after 500 steps of warm-up, gradient norm 35, half precision (``--amp``),
batch norms of the backbone at rest and its first stage frozen, images covered by a lattice; past frames are keyframes,
where the authors draw four to eight camera sweeps between two. The backbone wants trained weights:
``--set model.image_encoder.backbone.pretrained=True`` (ImageNet; the authors: nuImages) or ``checkpoint=FILE``. Where
eight frames do not fit, compute layers anew for their gradients (``model.head.checkpointing=True
model.image_encoder.backbone.checkpointing=True``), or set ``model.frames_in_graph=1``.
"""

_base_ = ["runtime.py"]

frames = 8

model = dict(
    type="SparseDetector",
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="FPN", out_channels=256),
        backbone=dict(type="TimmBackbone", model_name="resnet50", out_strides=(4, 8, 16, 32), norm_eval=True,
                      frozen_stride=4)),
    head=dict(type="SparseQueryHead", frames=frames, bounds=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), queries=900,
              layers=6, coder=dict(type="QueryBoxCoder", score_threshold=0.05)),
)

clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=frames,
             at_scene_start="repeat")
images = dict(size=(256, 704))
train_dataloader = dict(
    batch_size=1, num_workers=4, drop_last=True, collate_fn=dict(type="collate_clips"),
    sampler=dict(type="ResumableSampler", shuffle=True),
    dataset=dict(clips, split="train",
                 images=dict(images, zoom=(0.864, 1.25), crop=((0.0, 1.0), 1.0), flip=0.5),  # resized by 0.38 to 0.55
                 pipeline=[dict(type="Photometric"), dict(type="GridMask"),
                           dict(type="BEVJitter", rotate=(-22.5, 22.5), scale=(0.95, 1.05))]))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(clips, split="val", images=images))
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=24, val_interval=6)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01), clip_grad=dict(max_norm=35.0),
    paramwise_cfg=dict(custom_keys={"image_encoder.backbone": dict(lr_mult=0.1),
                                    "sampling.offsets": dict(lr_mult=0.1)}))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, begin=0, end=500, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=24, eta_min_ratio=1e-3, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=8)
sync_bn = "torch"
