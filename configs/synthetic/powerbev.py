"""PowerBEV for the synthetic world: the published structure, narrowed until it trains on two CPU cores.

48 m x 48 m in cells of 0.5 m, six cameras of 112x224 pixels, three frames in, two seconds out.
Data: `bevkit world data/world --scenes 10 --seed 0`.
Measured here: see docs/results.md.

    bevkit train configs/synthetic/powerbev.py
"""

_base_ = ["../_base_/powerbev.py"]

model = dict(
    grid=dict(x=(-24.0, 24.0, 0.5), y=(-24.0, 24.0, 0.5), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(backbone=dict(model_name="regnety_002", drop_path=0.0), neck=dict(out_channels=64)),
    view_transformer=dict(channels=32, depth=(2.0, 34.0, 1.0), image_size=(112, 224)),
    head=dict(num_features=(8, 10, 12, 16, 16), latent_dim=8,
              coder=dict(nms_kernel=7),  # 3.5 m, as on the published grids
              # all cells count: the hardest quarter teaches little in so short a training
              segmentation_loss=dict(type="TopKCrossEntropy", class_weights=(1.0, 3.0), ratio=1.0)),
)

clips = dict(dataroot="data/world", version="v1.0-mini", images=dict(size=(112, 224)))
train_dataloader = dict(batch_size=2, num_workers=1,
                        dataset=dict(clips, split="mini_train", pipeline=[
                            dict(type="Photometric"), dict(type="BEVJitter", flip_y=0.5)]))
val_dataloader = dict(num_workers=1, dataset=dict(clips, split="mini_val"))
test_dataloader = val_dataloader
# A small network sees vehicles well within some 16 m; FIERY's crop of a long map says how well.
val_evaluator = dict(ranges={"48x48": None, "32x32": (16.0, 16.0)}, copy_last=True)
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=12, val_interval=4)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=12, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=2)
