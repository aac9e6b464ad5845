"""FIERY (Hu et al., ICCV 2021) at its published size, up to the grid, which the child config sets.

Image encoder, lift, clips and optimiser are those that PowerBEV took over. Training as published: 20 epochs, Adam 3e-4,
weight decay 1e-7, 4 GPUs x batch 3, gradient norm 5, half precision (``--amp``), synchronised batch norm, everything
that fits from the single-frame pre-training (fiery_single_frame.py).
"""

_base_ = ["powerbev.py"]

past, future = 3, 4

model = dict(
    temporal=dict(_delete_=True, type="SpatioTemporalFusion", past=past - 1, channels=64, norm_momentum=0.05),
    head=dict(_delete_=True, type="FieryHead", future=future, latent_dim=32, norm_momentum=0.05,
              coder=dict(type="InstanceCenterCoder", protocol="fiery")),
)
train_dataloader = dict(batch_size=3)
auto_scale_lr = dict(base_batch_size=12)
