"""MatrixVT small enough for a test: every part of the published model, a fraction of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../detection/matrixvt_r50_256x704.py"]

depth = (2.0, 50.0, 4.0)

model = dict(
    grid=dict(x=(-51.2, 51.2, 3.2), y=(-51.2, 51.2, 3.2)),
    image_encoder=dict(backbone=dict(model_name="mobilenetv3_small_050"), neck=dict(out_channels=(4, 4, 4, 4))),
    view_transformer=dict(channels=16, depth=depth, image_size=(64, 96), depth_net=dict(mid_channels=16), hidden=16),
    bev_encoder=dict(stages=(16, 16, 32), level_channels=(8, 8, 8, 8)),
    head=dict(shared_channels=16, branch_channels=8),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth)],
)

clips = dict(dataroot="data/world", version="v1.0-mini")
train_dataloader = dict(batch_size=2, num_workers=0,
                        dataset=dict(clips, split="mini_train", images=dict(size=(64, 96))))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val", images=dict(size=(64, 96))))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
