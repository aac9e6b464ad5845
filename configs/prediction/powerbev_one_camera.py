"""PowerBEV for a rig of ONE front camera: the narrow network of synthetic/powerbev.py on a grid ahead of the car.

Data: any nuScenes tables that hold one scene of 40 keyframes, `--dataroot DIR --version NAME`; keyframes 0-29 train,
30-39 test. It shows that a rig of any size runs; one scene teaches nothing that would hold elsewhere.
Measured here: see docs/results.md.

    bevkit train configs/prediction/powerbev_one_camera.py --dataroot DIR --version v1.0-front
"""

_base_ = ["../synthetic/powerbev.py"]

model = dict(grid=dict(x=(0.0, 48.0, 0.5), y=(-24.0, 24.0, 0.5)), head=dict(coder=dict(protocol="native")))

front = dict(version="v1.0-front", cameras=["CAM_FRONT"], split=None)
train_dataloader = dict(dataset=dict(front, keyframes=(0, 30)))
val_dataloader = dict(dataset=dict(front, keyframes=(30, 40)))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="FutureInstanceMetric", copy_last=True)
test_evaluator = val_evaluator
