"""VideoBEV (Han et al., RA-L 2024), ResNet-50, 256x704 images: the map around the ego, drivable area and vehicles.

detection/videobev_r50_256x704.py with `MapHead`, whose targets are nuScenes' raster maps and boxes. Published: vehicle
IoU 48.6, on another grid. Measured here: not trained on nuScenes; see docs/results.md.

    bevkit train configs/segmentation/videobev_r50_256x704.py --amp fp16
    bevkit test configs/segmentation/videobev_r50_256x704.py CHECKPOINT
"""

_base_ = ["../detection/videobev_r50_256x704.py"]

model = dict(temporal=dict(time_channels=0),  # nothing here asks how fast things are
             head=dict(_delete_=True, type="MapHead", coder=dict(type="MapCoder")))
train_dataloader = dict(dataset=dict(raster_maps=True))
val_dataloader = dict(dataset=dict(raster_maps=True))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="MapMetric")
test_evaluator = val_evaluator
