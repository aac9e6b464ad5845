"""FIERY's pre-training: one frame in, the present's instances out; encoder, lift, decoder and three heads go on.

As in the authors' static_lss_setting.yml, whose weights their published model starts from: learning rate 1e-3, 4 GPUs x
batch 8, invisible vehicles kept, no ego motion, no flow, no distribution. The backbone starts from ImageNet: ``--set
model.image_encoder.backbone.model_name=tf_efficientnet_b4.aa_in1k model.image_encoder.backbone.pretrained=True``.
Measured here: not trained on nuScenes.

    bevkit train configs/prediction/fiery_single_frame.py --amp fp16
    bevkit train configs/prediction/fiery_long.py --checkpoint work_dirs/fiery_single_frame/iter_N.pth --amp fp16
"""

_base_ = ["../_base_/fiery.py"]

model = dict(grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)), temporal=None,
             image_encoder=dict(backbone=dict(norm_momentum=0.1), neck=dict(norm_momentum=0.1)),
             head=dict(future=0, norm_momentum=0.1,
                       coder=dict(_delete_=True, type="InstanceCenterCoder",
                                  protocol=dict(type="FieryMaps", drop_invisible=False))))
clips = dict(past=1, future=0)
train_dataloader = dict(batch_size=8, dataset=clips)
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)
