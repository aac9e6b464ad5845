"""Efficient-Instance-Prediction (Antunes et al., ITSC 2024) at its size "Full", up to the grid, which the child sets.

Image encoder, lift, window of frames, labels and both losses of the head are PowerBEV's; two SegFormers take the place
of its networks. Training as published: 30 epochs, AdamW 6e-5, weight decay 1e-7 (2e-3 in the first release), a rate
that falls linearly to zero at epoch 31, gradient norm 0.5, brightness of a clip drawn from 0.5 to 1.5, steps of 16
clips gathered 2 at a time. The backbone starts from ImageNet: ``--set
model.image_encoder.backbone.model_name=tf_efficientnet_b4.aa_in1k model.image_encoder.backbone.pretrained=True``.

The depth supervision by the lidar is that of their version 1.1.2, but correct: it teaches the depth, not the distance,
and takes probabilities for what they are, without another softmax. `LidarDepthMap` and `LidarDepthLoss` have options
for their form. The released weights are older than it.

What else differs: they resize images in floating point, where a grey value is rounded here, and leave out the last
clips of a test that do not fill a batch.
"""

_base_ = ["powerbev.py"]

past, future = 3, 4
depth = (2.0, 50.0, 1.0)

model = dict(
    image_encoder=dict(backbone=dict(norm_momentum=0.01), neck=dict(norm_momentum=0.1)),
    temporal=dict(past=past - 1),
    head=dict(_delete_=True, type="EfficientPredictionHead", future=future, background_first=False,
              channels=(16, 32, 64, 160, 256), reductions=(8, 8, 4, 2, 1),
              coder=dict(type="InstanceFlowCoder", protocol="powerbev")),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=0.1, entropy="categorical")],
)

train_dataloader = dict(dataset=dict(lidar=True, pipeline=[
    dict(type="Photometric", brightness=(0.5, 1.5), contrast=1.0, saturation=1.0, hue=0.0),
    dict(type="LidarDepthMap", stride=8)]))

train_cfg = dict(max_epochs=30)
optim_wrapper = dict(accumulative_counts=8, optimizer=dict(type="AdamW", lr=6e-5, weight_decay=1e-7),
                     clip_grad=dict(max_norm=0.5))
param_scheduler = [dict(type="PolyLR", power=1.0, begin=0, end=32, by_epoch=True)]  # rate * (1 - epoch / 31)
auto_scale_lr = dict(enable=True, base_batch_size=2)  # of each of the 8 gathered
