"""VideoBEV (Han et al., RA-L 2024), ResNet-50, 256x704 images, 128 x 128 cells: one memory, eight keyframes a clip.

No code was released; `RecurrentMemory` says what the paper leaves open. Trained unrolled over eight keyframes, of which
the last two get gradients (the paper does not say); tested as a stream over whole scenes. Published (val): 42.2 mAP,
53.5 NDS. Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/detection/videobev_r50_256x704.py --amp fp16
    bevkit test configs/detection/videobev_r50_256x704.py CHECKPOINT --stream
"""

_base_ = ["../_base_/bevdepth.py"]

past = 8  # keyframes of a training clip, the present counted

model = dict(temporal=dict(type="RecurrentMemory", time_channels=16), frames_in_graph=2,
             head=dict(code_weights=(1.0,) * 10))
train_dataloader = dict(sampler=dict(type="ClassBalancedSampler"), dataset=dict(past=past, at_scene_start="repeat"))
val_dataloader = dict(dataset=dict(past=past, at_scene_start="repeat"))
test_dataloader = val_dataloader
custom_hooks = [dict(type="PlainCheckpointHook"), dict(type="ProgressHook"),
                dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=1e-3, gamma=2000,
                     update_buffers=True)]
