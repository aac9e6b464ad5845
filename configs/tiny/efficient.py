"""Efficient-Instance-Prediction small enough for a test: every part of the published model, on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`. The authors' own small
size, "Tiny", is prediction/efficient_tiny_short.py.
"""

_base_ = ["../_base_/efficient.py"]

depth = (2.0, 26.0, 2.0)

model = dict(
    grid=dict(x=(-16.0, 16.0, 1.0), y=(-16.0, 16.0, 1.0), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(backbone=dict(model_name="mobilenetv3_small_050", drop_path=0.0), neck=dict(out_channels=16)),
    view_transformer=dict(channels=8, depth=depth, image_size=(64, 96)),
    head=dict(channels=(4, 4, 8, 8, 16), decoder_channels=16, classifier_channels=(8, 8, 4, 4),
              background_first=True),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=0.1, entropy="categorical")],
)

clips = dict(dataroot="data/world", version="v1.0-mini", images=dict(size=(64, 96)))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(clips, split="mini_train"))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(accumulative_counts=1)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
