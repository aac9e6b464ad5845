"""BEVDet4D-Depth (Huang and Huang, 2022; BEVDet dev2.1) with ResNet-50 at 256x704; the child config sets the past.

Training as published: AdamW 2e-4, weight decay 0.01, 20 epochs at a global batch of 64, gradient norm 5, averaged
weights, class-balanced sampling, half precision (``--amp``), ImageNet weights for the backbone (as in bevdepth.py);
past frames run without gradients. Not as published: the authors lift past frames straight into the present ego frame;
here each is lifted in its own and its map is warped, so that a stream lifts every frame once.
"""

_base_ = ["bevdepth.py"]

depth = (1.0, 60.0, 0.5)
# One suppression for a whole task: overlap of boxes whose footprints are scaled class by class; barriers by distance.
scales = (1.0, (0.7, 0.7), (0.4, 0.55), None, (1.0, 1.0), (4.5, 9.0))
overlaps = (0.2, 0.2, 0.2, 0.2, 0.2, 0.5)

model = dict(
    image_encoder=dict(
        neck=dict(_delete_=True, type="FPN", out_channels=512, outputs=1),
        backbone=dict(out_strides=(16, 32))),
    view_transformer=dict(depth=depth, depth_net=dict(mid_channels=512, deformable=False)),
    frame_encoder=dict(type="ResidualMap"),
    temporal=dict(type="AlignAndStack", past=1, ego_motion=False, order="newest_first"),
    frames_in_graph=1,
    bev_encoder=dict(_delete_=True, type="ResidualFPN"),
    head=dict(loss_by_attribute=True, code_weights=(1.0,) * 10, coder=dict(nms=[
        dict(kind="circle", squared_distance=1.0) if scale is None else
        dict(kind="rotated", overlap=overlap, scale=scale) for overlap, scale in zip(overlaps, scales)])),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=3.0)],
)
train_dataloader = dict(sampler=dict(type="ClassBalancedSampler"),
                        dataset=dict(past=2, images=dict(zoom=(0.864, 1.25))))  # resized by 0.38 to 0.55
val_dataloader = dict(dataset=dict(past=2, at_scene_start="repeat"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=20)
optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
param_scheduler = [dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200)]
custom_hooks = [dict(type="PlainCheckpointHook"), dict(type="ProgressHook"),
                dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=1e-3, gamma=2000,
                     update_buffers=True)]
