"""SparseBEV, V2-99, 640x1600 images, five scales, 1600 queries, fifteen frames: seven past, the present, seven to come.

For labelling recordings: it takes clips, and has neither streams nor exports. Published (README of MCG-NJU/SparseBEV,
test, trained on val too): NDS 67.5. Measured here: not trained on nuScenes.

    bevkit train configs/detection/sparsebev_v99_640x1600_future.py --amp fp16
    bevkit test configs/detection/sparsebev_v99_640x1600_future.py CHECKPOINT
"""

_base_ = ["sparsebev_v99_640x1600.py"]

model = dict(ahead=7, head=dict(frames=15, checkpointing=True), image_encoder=dict(backbone=dict(checkpointing=True)))
clips = dict(future=7, ahead=7, at_scene_end="repeat")
train_dataloader = dict(dataset=clips)
val_dataloader = dict(dataset=clips)
test_dataloader = val_dataloader
