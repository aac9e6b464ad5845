"""The demo's last step of training: `powerbev.py` from weights that other seeds of the world have trained.

The weights (powerbev.pth beside this file, float16) come from these two commands, 20 scenes and 5 epochs; the demo's
own world has another seed, so none of its streets, and none of its held-out ones, were in them:

    bevkit world data/world_100 --scenes 20 --seed 100
    bevkit train configs/synthetic/powerbev_start.py
"""

_base_ = ["powerbev.py"]

train_cfg = dict(max_epochs=1, val_interval=9)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=1, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=50))
