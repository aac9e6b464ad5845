"""Where a config's ``type="Name"`` finds its class: children of mmengine's registries, scope ``bevkit``."""

from typing import Any

from mmengine import registry
from mmengine.registry import DATASETS as _DATASETS
from mmengine.registry import FUNCTIONS as _FUNCTIONS
from mmengine.registry import HOOKS as _HOOKS
from mmengine.registry import METRICS as _METRICS
from mmengine.registry import MODELS as _MODELS
from mmengine.registry import TRANSFORMS as _TRANSFORMS
from mmengine.registry import Registry

SCOPE = "bevkit"


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[f"bevkit.{place}" for place in locations])


MODELS = _child(_MODELS, "models")  # every nn.Module, and the coders beside the heads
DATASETS = _child(_DATASETS, "datasets")
TRANSFORMS = _child(_TRANSFORMS, "datasets")  # augmentation: BEVClip -> BEVClip
METRICS = _child(_METRICS, "metrics")
HOOKS = _child(_HOOKS, "engine")
# Kinds that bevkit adds little or nothing to; without a child of its own scope mmengine warns at every look-up.
for _name in ("OPTIMIZERS", "OPTIM_WRAPPERS", "OPTIM_WRAPPER_CONSTRUCTORS", "PARAM_SCHEDULERS", "LOOPS",
              "DATA_SAMPLERS", "EVALUATOR", "LOG_PROCESSORS", "MODEL_WRAPPERS", "RUNNERS", "VISUALIZERS",
              "VISBACKENDS"):
    _child(getattr(registry, _name))
# A DataLoader looks its collate_fn up without the default scope, so the root registry holds ours.
FUNCTIONS = _FUNCTIONS


def built(part: Any, **defaults: Any) -> Any:
    """Builds a part of a model from its config, with defaults for what the config leaves out; passes others on."""
    return MODELS.build(part, default_args=defaults) if isinstance(part, dict) else part
