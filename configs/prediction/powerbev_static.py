"""PowerBEV's static pre-training: one frame in, the present's segmentation out, for the image encoder of the others.

As in the authors' powerbev_static.yml (v1.2): learning rate 1e-3, invisible vehicles kept, ResNet-18 BEV decoder;
7.35 M parameters published, 241,920 of them the frozen frustum.
Measured here: not trained on nuScenes.

    bevkit train configs/prediction/powerbev_static.py --amp fp16
    bevkit train configs/prediction/powerbev_long.py --checkpoint work_dirs/powerbev_static/iter_N.pth --amp fp16
"""

_base_ = ["../_base_/powerbev.py"]

model = dict(
    grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)),
    temporal=None,
    bev_encoder=dict(type="ResNetUNet", norm_momentum=0.05),
    head=dict(_delete_=True, type="SegmentationHead", norm_momentum=0.05,
              coder=dict(type="OccupancyCoder", protocol=dict(type="PowerBEVMaps", drop_invisible=False))),
)
clips = dict(past=1, future=0)
train_dataloader = dict(dataset=clips)
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
