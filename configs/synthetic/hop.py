"""HoP for the synthetic world: bevdet4d.py with four keyframes, and the training-only branch on them.

Measured here: its fusion on the kept maps of bevdepth.py, docs/results.md; not trained as a whole.

    bevkit train configs/synthetic/hop.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
"""

_base_ = ["bevdet4d.py"]

past = 4
depth = (2.0, 42.0, 1.0)
grid = dict(x=(-38.4, 38.4, 0.8), y=(-38.4, 38.4, 0.8), z=(-5.0, 3.0, 8.0))

model = dict(
    temporal=dict(past=past - 1), frames_in_graph=2,
    auxiliaries=[
        dict(type="LidarDepthLoss", depth=depth, weight=1.0),
        dict(type="HistoricalObjectLoss", frames=past - 1, channels=64, heads=(4, 2), ffn_channels=(128, 64),
             head=dict(type="CenterPointHead", shared_channels=32, branch_channels=16,
                       coder=dict(type="CenterPointCoder")))])
train_dataloader = dict(batch_size=2, dataset=dict(past=past, pipeline=[
    dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-10.0, 10.0)),
    dict(type="LidarDepthMap", stride=8), dict(type="PastTargets", grid=grid, coder=dict(type="CenterPointCoder"))]))
val_dataloader = dict(dataset=dict(past=past))
test_dataloader = val_dataloader
