"""HoP on BEVFormer-base, which the authors describe and never released.

As in hop_bevdet4d_r50_256x704.py, on the maps that BEVFormer's encoder makes of four keyframes: the last but one is
guessed from the other three. History frames run without gradients, so that the branch teaches the present map and
itself. Nothing of it is published but the paper's gain. Measured here: not trained on nuScenes.

    bevkit train configs/detection/hop_bevformer.py --amp fp16
    bevkit test configs/detection/hop_bevformer.py CHECKPOINT --stream
"""

_base_ = ["../_base_/bevformer.py"]

grid = dict(x=(-51.2, 51.2, 0.512), y=(-51.2, 51.2, 0.512), z=(-5.0, 3.0, 8.0))

model = dict(auxiliaries=[dict(
    type="HistoricalObjectLoss", frames=3,
    head=dict(type="CenterPointHead", coder=dict(type="CenterPointCoder"), loss_by_attribute=True))])
train_dataloader = dict(dataset=dict(at_scene_start="repeat", pipeline=[
    dict(type="Photometric", brightness=(0.75, 1.25), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(-18.0, 18.0),
         per="image", probability=0.5),
    dict(type="GridMask"), dict(type="PastTargets", grid=grid, coder=dict(type="CenterPointCoder"))]))
