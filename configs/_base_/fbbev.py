"""FB-BEV (Li et al., ICCV 2023), ResNet-50 at 256x704.

The authors have released the configuration of FB-OCC alone (NVlabs/FB-BEV); what they published of the detector is
followed, and what they did not (map, head and trunk) is BEVDet4D's: 128 x 128 cells, residual trunk, CenterPoint. One
keyframe; history fusion is a temporal part of its own. AdamW 2e-4, weight decay 0.01, 20 epochs, global batch 64,
ImageNet weights for the backbone (as in bevdepth.py).
"""

_base_ = ["runtime.py"]

depth = (2.0, 58.0, 0.5)
grid = dict(x=(-51.2, 51.2, 0.8), y=(-51.2, 51.2, 0.8), z=(-5.0, 3.0, 2.0))

model = dict(
    type="DenseBEV",
    grid=grid,
    image_encoder=dict(
        type="ImageEncoder", neck=dict(type="FPN", out_channels=256, outputs=1),
        backbone=dict(type="TimmBackbone", model_name="resnet50", out_strides=(16, 32))),
    view_transformer=dict(
        type="ForwardBackward", channels=80, depth=depth, image_size=(256, 704),
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=512, deformable=False)),
    bev_encoder=dict(type="ResidualFPN"),
    head=dict(type="CenterPointHead", code_weights=(1.0,) * 10, coder=dict(type="CenterPointCoder")),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=1.0), dict(type="ForegroundLoss")],
)

clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=1)
images = dict(size=(256, 704))
train_dataloader = dict(
    batch_size=8, num_workers=4, drop_last=True, collate_fn=dict(type="collate_clips"),
    sampler=dict(type="ResumableSampler", shuffle=True),
    dataset=dict(clips, split="train", lidar=True,
                 images=dict(images, zoom=(0.864, 1.25), crop=((0.0, 1.0), 1.0), flip=0.5, rotate=(-5.4, 5.4)),
                 pipeline=[dict(type="BEVJitter", rotate=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5),
                           dict(type="LidarDepthMap", stride=16), dict(type="ForegroundMap", grid=grid)]))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(clips, split="val", images=images))
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=20, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01),
                     clip_grad=dict(max_norm=5.0))
param_scheduler = [dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200)]
auto_scale_lr = dict(enable=True, base_batch_size=64)
sync_bn = "torch"
