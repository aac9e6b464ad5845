"""BEVDepth (Li et al., AAAI 2023) with ResNet-50 at 256x704, one keyframe; the child config adds the past.

Training as published: AdamW 2e-4 at a global batch of 64, weight decay 1e-7, 24 epochs, a tenth of the rate from epoch
19 and a hundredth from 23, gradient norm 5, half precision (``--amp``), ImageNet weights for the backbone: ``--set
model.image_encoder.backbone.model_name=resnet50.tv_in1k model.image_encoder.backbone.pretrained=True``.
"""

_base_ = ["runtime.py"]

depth = (2.0, 58.0, 0.5)

model = dict(
    type="DenseBEV",
    grid=dict(x=(-51.2, 51.2, 0.8), y=(-51.2, 51.2, 0.8), z=(-5.0, 3.0, 8.0)),
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="SecondFPN", out_channels=(128, 128, 128, 128), out_stride=16),
        backbone=dict(type="TimmBackbone", model_name="resnet50", out_strides=(4, 8, 16, 32))),
    view_transformer=dict(type="LiftSplat", channels=80, depth=depth, image_size=(256, 704),
                          depth_net=dict(type="CameraAwareDepthNet", mid_channels=512)),
    bev_encoder=dict(type="ResNetPyramid", stages=(160, 320, 640), level_channels=(64, 64, 64, 64)),
    head=dict(type="CenterPointHead", coder=dict(type="CenterPointCoder")),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=3.0)],
)

clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=1)
images = dict(size=(256, 704))
train_dataloader = dict(
    batch_size=8, num_workers=4, drop_last=True, collate_fn=dict(type="collate_clips"),
    sampler=dict(type="ResumableSampler", shuffle=True),
    dataset=dict(clips, split="train", lidar=True,  # resized by 0.386 to 0.55
                 images=dict(images, zoom=(0.877, 1.25), crop=((0.0, 1.0), 1.0), flip=0.5, rotate=(-5.4, 5.4)),
                 pipeline=[dict(type="BEVJitter", rotate=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5),
                           dict(type="LidarDepthMap", stride=16)]))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(clips, split="val", images=images))
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=24, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=1e-7),
                     clip_grad=dict(max_norm=5.0))
param_scheduler = [dict(type="MultiStepLR", milestones=[19, 23], gamma=0.1, by_epoch=True)]
auto_scale_lr = dict(enable=True, base_batch_size=64)
sync_bn = "torch"
