"""The training behind the weights that the demo starts from; see powerbev_demo.py.

    bevkit world data/world_100 --scenes 36 --seed 100
    bevkit world data/world_101 --scenes 26 --seed 101
    bevkit train configs/synthetic/powerbev_static.py --amp bf16 --dataroot data/world_100 --version v1.0-trainval \
        --set train_dataloader.dataset.split=train val_dataloader.dataset.split=val
    bevkit train configs/synthetic/powerbev_start.py --amp bf16 --work-dir first \
        --checkpoint work_dirs/synthetic_powerbev_static/iter_3088.pth \
        --set model.head.segmentation_loss.class_weights=[1.0,3.0]
    bevkit train configs/synthetic/powerbev_start.py --amp bf16 --work-dir second --checkpoint first/iter_1972.pth \
        --set train_dataloader.dataset.dataroot=data/world_101 train_dataloader.dataset.split=None \
        optim_wrapper.optimizer.lr=1.5e-3 optim_wrapper.paramwise_cfg.custom_keys.image_encoder.lr_mult=0.5 \
        optim_wrapper.paramwise_cfg.custom_keys.view_transformer.lr_mult=0.5
    python tools/publish_checkpoint.py second/iter_1768.pth configs/synthetic/powerbev.pth --half

The weights that lie beside this file were made so. Held-out scores stand in docs/results.md.
"""

_base_ = ["powerbev.py"]

other = dict(dataroot="data/world_100", version="v1.0-trainval")
train_dataloader = dict(dataset=dict(other, split="train", pipeline=[
    dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-20.0, 20.0))]))
val_dataloader = dict(dataset=dict(other, split="val"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={  # they have seen more frames than they will see here
    "image_encoder": dict(lr_mult=0.2), "view_transformer": dict(lr_mult=0.2)}))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=4, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
