"""FipTR for the synthetic world: the published structure, narrowed until it trains on two CPU cores.

Image encoder, lift, grid and labels are those of powerbev.py, so that the two heads can be compared.
Data: `bevkit world data/world --scenes 10 --seed 0`.
Measured here: see docs/results.md.

    bevkit train configs/synthetic/fiptr.py
"""

_base_ = ["../_base_/fiptr.py"]

model = dict(
    grid=dict(x=(-24.0, 24.0, 0.5), y=(-24.0, 24.0, 0.5), z=(-10.0, 10.0, 20.0)),
    level_ego=True,  # the labels of the powerbev protocol are drawn on the horizontal plane
    image_encoder=dict(
        neck=dict(_delete_=True, type="UpsampleConcat", out_channels=64, norm_momentum=0.05),
        backbone=dict(_delete_=True, type="TimmBackbone", model_name="regnety_002", out_strides=(8, 16),
                      norm_momentum=0.05)),
    view_transformer=dict(type="LiftSplat", channels=32, depth=(2.0, 34.0, 1.0), image_size=(112, 224)),
    temporal=dict(type="SpatioTemporalFusion", past=2, channels=32, residual=True),
    bev_encoder=dict(stages=(48, 64, 96), channels=64),
    head=dict(queries=60, layers=3, future_layers=2, heads=4, ffn_channels=128, dropout=0.0,
              coder=dict(labels=dict(protocol="powerbev", max_truth=60))),
)

clips = dict(dataroot="data/world", version="v1.0-mini")
images = dict(_delete_=True, size=(112, 224))
train_dataloader = dict(batch_size=2, num_workers=1, drop_last=True,
                        dataset=dict(clips, split="mini_train", images=images, pipeline=[
                            dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5)]))
val_dataloader = dict(num_workers=1, dataset=dict(clips, split="mini_val", images=images))
test_dataloader = val_dataloader
val_evaluator = dict(ranges={"48x48": None, "32x32": (16.0, 16.0)}, copy_last=True)
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=12, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=12, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=2)
