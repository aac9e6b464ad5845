"""HoP on BEVDet4D-Depth (Zong et al., ICCV 2023): ResNet-50, 256x704 images, nine keyframes, a training-only branch.

The branch guesses the map of the instant before the present from the other eight and finds its objects there. It
leaves no weight and no operation in what is exported. Published (README of Sense-X/HoP, val, 24 epochs): 38.5 mAP, 49.3
NDS without, 39.9, 51.0 with it. Measured here: not trained on nuScenes; see docs/results.md for what was. The authors
switch the branch on after three epochs; here it is on from the first.

    bevkit train configs/detection/hop_bevdet4d_r50_256x704.py --amp fp16
    bevkit test configs/detection/hop_bevdet4d_r50_256x704.py CHECKPOINT
"""

_base_ = ["../_base_/bevdet4d.py"]

past = 9  # keyframes, the present counted
depth = (1.0, 60.0, 0.5)
grid = dict(x=(-51.2, 51.2, 0.8), y=(-51.2, 51.2, 0.8), z=(-5.0, 3.0, 8.0))

model = dict(
    temporal=dict(past=past - 1),
    auxiliaries=[
        dict(type="LidarDepthLoss", depth=depth, weight=3.0),
        dict(type="HistoricalObjectLoss", frames=past - 1, out_channels=256,
             head=dict(type="CenterPointHead", coder=dict(type="CenterPointCoder"), loss_by_attribute=True,
                       code_weights=(1.0,) * 10))],
)
# Not class-balanced, as BEVDet4D is.
train_dataloader = dict(sampler=dict(_delete_=True, type="ResumableSampler", shuffle=True), dataset=dict(
    past=past, at_scene_start="repeat", pipeline=[
        dict(type="BEVJitter", rotate=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5),
        dict(type="LidarDepthMap", stride=16),
        dict(type="PastTargets", grid=grid, coder=dict(type="CenterPointCoder"))]))
val_dataloader = dict(dataset=dict(past=past))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=24)
