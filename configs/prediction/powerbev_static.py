"""PowerBEV's static pre-training: one frame in, the present's segmentation out, for the image encoder of the others.

As in the authors' powerbev_static.yml (v1.2): learning rate 1e-3, invisible vehicles kept, ResNet-18 BEV decoder; 7.35
M parameters published, 241,920 of them the frozen frustum. The backbone starts from ImageNet: ``--set
model.image_encoder.backbone.model_name=tf_efficientnet_b4.aa_in1k model.image_encoder.backbone.pretrained=True``
(timm's own choice of weights, without a tag, is another).
Measured here: not trained on nuScenes.

    bevkit train configs/prediction/powerbev_static.py --amp fp16
    bevkit train configs/prediction/powerbev_long.py --checkpoint work_dirs/powerbev_static/iter_N.pth --amp fp16
"""

_base_ = ["../_base_/powerbev.py"]

model = dict(
    grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)),
    temporal=None,
    image_encoder=dict(backbone=dict(norm_momentum=0.1), neck=dict(norm_momentum=0.1)),
    bev_encoder=dict(type="ResNetUNet"),
    head=dict(_delete_=True, type="SegmentationHead",
              coder=dict(type="OccupancyCoder", protocol=dict(type="PowerBEVMaps", drop_invisible=False))),
)
clips = dict(past=1, future=0)
train_dataloader = dict(dataset=clips)
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
