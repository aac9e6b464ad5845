"""How every run is logged, saved and seeded."""

default_scope = "bevkit"
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
               dist_cfg=dict(backend="nccl"))
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # by iterations, so that a kill costs minutes even where an epoch takes hours
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=500, max_keep_ckpts=2),
)
custom_hooks = [dict(type="PlainCheckpointHook"), dict(type="ProgressHook")]
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
randomness = dict(seed=0)
log_level = "INFO"
load_from = None
resume = False
