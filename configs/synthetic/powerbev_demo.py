"""The demo's last step of training: `powerbev.py` from weights that other seeds of the world have trained.

The weights (powerbev.pth beside this file, float16) are those of powerbev_start.py, trained on worlds of other seeds,
so none of the demo's streets, and none of its held-out ones, were in them.
"""

_base_ = ["powerbev.py"]

train_cfg = dict(max_epochs=3, val_interval=9)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=3, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=100))
