"""VideoBEV (Han et al., RA-L 2024), ResNet-50, 256x704 images: boxes and where each goes in the next six seconds.

The detector of detection/videobev_r50_256x704.py with `ForecastHead`, which says what the paper leaves open. Published:
minADE 0.80, EPA 0.463, with a larger backbone. Measured here: not trained on nuScenes; see docs/results.md.

    bevkit train configs/forecasting/videobev_r50_256x704.py --amp fp16
    bevkit test configs/forecasting/videobev_r50_256x704.py CHECKPOINT
"""

_base_ = ["../detection/videobev_r50_256x704.py"]

steps = 12  # keyframes to come, 0.5 s each

model = dict(head=dict(type="ForecastHead", guesses=6, coder=dict(type="ForecastCoder", steps=steps)))
train_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
val_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
test_dataloader = val_dataloader
val_evaluator = [dict(type="NuScenesDetectionMetric"), dict(type="ForecastMetric", steps=steps)]
test_evaluator = val_evaluator
