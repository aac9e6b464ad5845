"""BEVFormer (Li et al., ECCV 2022) at its published base size; children set the sizes that differ.

Training as published: 24 epochs, AdamW 2e-4 (backbone a tenth), weight decay 0.01, cosine after 500 steps of warm-up,
batch 1 on each of 8 GPUs, gradient norm 35; history frames run without gradients, batch norms of the backbone are at
rest and its first stage is frozen, images are covered by a lattice. They want a trained backbone: ``--set
model.image_encoder.backbone.pretrained=True``. Not as published: it is timm's ResNet without deformable convolutions,
from ImageNet (the authors: FCOS3D's ResNet-101-DCN); channels of colours are not permuted, brightness changes by a
factor, and no past frame of a clip is left out at random. The published scores are those of streams: ``--stream``.
"""

_base_ = ["runtime.py"]

past = 4  # keyframes at 2 Hz, the present counted

model = dict(
    type="DenseBEV",
    grid=dict(x=(-51.2, 51.2, 0.512), y=(-51.2, 51.2, 0.512), z=(-5.0, 3.0, 8.0)),
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="FPN", out_channels=256, extra_levels=1),
        backbone=dict(type="TimmBackbone", model_name="resnet101", out_strides=(8, 16, 32), norm_eval=True,
                      frozen_stride=4)),
    view_transformer=dict(type="BEVFormer", layers=6, levels=4),
    head=dict(type="BEVFormerHead", queries=900, coder=dict(type="QueryBoxCoder")),
)

# Scaled by s, then the mean colour below up to a multiple of 32: zero to the network, as the authors pad.
clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=past,
             images=dict(size=(928, 1600), zoom=900 / 928, crop=(0.5, 0.0), fill=(124, 116, 104)))
train_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                        sampler=dict(type="ResumableSampler", shuffle=True),
                        dataset=dict(clips, split="train", pipeline=[
                            dict(type="Photometric", brightness=(0.75, 1.25), contrast=(0.5, 1.5),
                                 saturation=(0.5, 1.5), hue=(-18.0, 18.0), per="image", probability=0.5),
                            dict(type="GridMask")]))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(clips, split="val", at_scene_start="repeat"))
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=24, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01),
                     paramwise_cfg=dict(custom_keys={"image_encoder.backbone": dict(lr_mult=0.1)}),
                     clip_grad=dict(max_norm=35.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True, T_max=24, eta_min_ratio=1e-3),
]
auto_scale_lr = dict(enable=True, base_batch_size=8)
