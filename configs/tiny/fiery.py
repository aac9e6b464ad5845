"""FIERY small enough for a test: every part of the published model, a tenth of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["../_base_/fiery.py"]

model = dict(
    grid=dict(x=(-16.0, 16.0, 1.0), y=(-16.0, 16.0, 1.0), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(backbone=dict(model_name="mobilenetv3_small_050", drop_path=0.0), neck=dict(out_channels=16)),
    view_transformer=dict(channels=8, depth=(2.0, 26.0, 2.0), image_size=(64, 96)),
    temporal=dict(channels=8),
    head=dict(latent_dim=4, decoder=dict(type="ResNetUNet", stages=(8, 12, 16), blocks=(1, 1, 1)),
              predictor=dict(type="ConvGRUPredictor", units=2, bottlenecks=1)),
)

clips = dict(dataroot="data/world", version="v1.0-mini", images=dict(size=(64, 96)))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(clips, split="mini_train"))
val_dataloader = dict(num_workers=0, dataset=dict(clips, split="mini_val"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=1))
