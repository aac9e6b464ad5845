"""FB-BEV for the synthetic world: bevdepth.py with its view transformer.

Measured here: held-out mAP 0.043, docs/results.md.

    bevkit train configs/synthetic/fbbev.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
"""

_base_ = ["bevdepth.py"]

depth = (2.0, 42.0, 1.0)
grid = dict(x=(-38.4, 38.4, 0.8), y=(-38.4, 38.4, 0.8), z=(-5.0, 3.0, 4.0))

model = dict(
    grid=grid,
    view_transformer=dict(type="ForwardBackward", heads=4),
    auxiliaries=[dict(type="LidarDepthLoss", depth=depth, weight=1.0), dict(type="ForegroundLoss")],
)
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-10.0, 10.0)),
                           dict(type="LidarDepthMap", stride=8), dict(type="ForegroundMap", grid=grid)]))
