"""The static pre-training of synthetic/powerbev.py: one frame in, the present's occupancy out.

As in the paper it teaches the image encoder and the lift where things are, six images a sample instead of eighteen.
The lidar says how far things are (BEVDepth, section 4.1), which the paper's pre-training leaves to be found out.

    bevkit train configs/synthetic/powerbev_static.py
    bevkit train configs/synthetic/powerbev.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth
"""

_base_ = ["powerbev.py"]

coder = dict(type="OccupancyCoder", protocol=dict(type="PowerBEVMaps", drop_invisible=False))
model = dict(
    temporal=None,
    bev_encoder=dict(type="ResNetUNet", norm_momentum=0.05),
    head=dict(_delete_=True, type="SegmentationHead", norm_momentum=0.05, coder=coder,
              # all cells count: the hardest quarter says nothing yet to a network that knows nothing
              segmentation_loss=dict(type="TopKCrossEntropy", class_weights=(1.0, 3.0), ratio=1.0)),
    auxiliaries=[dict(type="LidarDepthLoss", depth=(2.0, 34.0, 1.0), weight=3.0)])
clips = dict(past=1, future=0)
train_dataloader = dict(batch_size=6, dataset=dict(
    clips, lidar=True, images=dict(zoom=(0.95, 1.2), crop=((0.0, 1.0), 1.0), flip=0.5),
    pipeline=[dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5, rotate=(-20.0, 20.0)),
              dict(type="LidarDepthMap", stride=8)]))
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=16, val_interval=8)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=16, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False)
