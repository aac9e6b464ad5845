"""FIERY (Hu et al., ICCV 2021) at its published size, up to the grid, which the child config sets.

Training as published: 20 epochs, Adam 3e-4, weight decay 1e-7, 4 GPUs x batch 3, gradient norm 5, half precision
(``--amp``), synchronised batch norm, everything that fits from the single-frame pre-training (fiery_single_frame.py).
"""

_base_ = ["runtime.py"]

past, future = 3, 4  # keyframes at 2 Hz: 1 s of past with the present, 2 s of future

model = dict(
    type="DenseBEV",
    level_ego=True,  # the labels of the fiery protocol are drawn on the horizontal plane
    image_encoder=dict(
        type="ImageEncoder",
        backbone=dict(type="TimmBackbone", model_name="tf_efficientnet_b4", out_strides=(8, 16), drop_path=0.2,
                      norm_momentum=0.05),
        neck=dict(type="UpsampleConcat", out_channels=128, norm_momentum=0.05)),
    view_transformer=dict(type="LiftSplat", channels=64, depth=(2.0, 50.0, 1.0), image_size=(224, 480)),
    temporal=dict(type="SpatioTemporalFusion", past=past - 1, channels=64, norm_momentum=0.05),
    head=dict(type="FieryHead", future=future, latent_dim=32, norm_momentum=0.05,
              coder=dict(type="InstanceCenterCoder", protocol="fiery")),
)

clips = dict(type="NuScenesClips", dataroot="data/nuscenes", version="v1.0-trainval", past=past, future=future,
             images=dict(size=(224, 480)))
train_dataloader = dict(batch_size=3, num_workers=4, drop_last=True,  # a lone sample starves the batch norms
                        collate_fn=dict(type="collate_clips"),
                        sampler=dict(type="ResumableSampler", shuffle=True), dataset=dict(clips, split="train"))
val_dataloader = dict(batch_size=1, num_workers=4, collate_fn=dict(type="collate_clips"),
                      sampler=dict(type="DefaultSampler", shuffle=False), dataset=dict(clips, split="val"))
test_dataloader = val_dataloader
val_evaluator = dict(type="FutureInstanceMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="ResumableEpochLoop", max_epochs=20, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4, weight_decay=1e-7),
                     clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(enable=True, base_batch_size=12)
sync_bn = "torch"
