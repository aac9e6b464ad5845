"""FB-BEV, ResNet-50, 256x704 images, a map of 128 x 128 cells, one keyframe.

Published: a configuration of this detector never was; the paper's ResNet-50 with history has about 50 NDS. Measured
here: not trained on nuScenes; see docs/results.md for what was. The authors' weights need the options that
`bevkit import-checkpoint` names. Averaged weights and class-balanced sampling are BEVDet4D's, as is the schedule.

    bevkit train configs/detection/fbbev_r50_256x704.py --amp fp16
    bevkit train configs/detection/fbbev_r50_256x704.py --amp fp16 --set \\
        model.image_encoder.backbone.model_name=ese_vovnet99b  # timm's V2-99; swin_base_patch4_window7_224 likewise
    bevkit test configs/detection/fbbev_r50_256x704.py CHECKPOINT
"""

_base_ = ["../_base_/fbbev.py"]

train_dataloader = dict(sampler=dict(type="ClassBalancedSampler"))
custom_hooks = [dict(type="PlainCheckpointHook"), dict(type="ProgressHook"),
                dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=1e-3, gamma=2000,
                     update_buffers=True)]
