"""The training behind the weights that the demo starts from; see powerbev_demo.py.

    bevkit world data/world_102 --scenes 100 --seed 102
    bevkit world data/world_103 --scenes 8 --seed 103
    bevkit train configs/synthetic/powerbev_static.py --amp bf16 --set train_dataloader.dataset.split=None \
        train_dataloader.dataset.dataroot=data/world_102 train_dataloader.dataset.version=v1.0-trainval \
        val_dataloader.dataset.dataroot=data/world_103 val_dataloader.dataset.split=None \
        train_cfg.max_epochs=5 train_cfg.val_interval=5 param_scheduler.1.T_max=5
    bevkit train configs/synthetic/powerbev_start.py --amp bf16 \
        --checkpoint work_dirs/synthetic_powerbev_static/iter_3330.pth
    python tools/publish_checkpoint.py work_dirs/synthetic_powerbev_start/iter_3400.pth \
        configs/synthetic/powerbev.pth --half

The weights that lie beside this file were made so. Held-out scores stand in docs/results.md.
"""

_base_ = ["powerbev.py"]

model = dict(auxiliaries=[dict(type="LidarDepthLoss", depth=(2.0, 34.0, 1.0), weight=1.0)])
train_dataloader = dict(dataset=dict(
    dataroot="data/world_102", version="v1.0-trainval", split=None, lidar=True,
    images=dict(zoom=(0.95, 1.2), crop=((0.0, 1.0), 1.0), flip=0.5),
    pipeline=[dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-20.0, 20.0)),
              dict(type="LidarDepthMap", stride=8)]))
val_dataloader = dict(dataset=dict(dataroot="data/world_103", split=None))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={  # they have seen more frames than they will see here
    "image_encoder": dict(lr_mult=0.3), "view_transformer": dict(lr_mult=0.3)}))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=2, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
