"""The mmengine runner, its hooks and schedules; importing this package registers them."""

from bevkit.engine import checkpoint, hooks, loops, streaming

__all__ = ["checkpoint", "hooks", "loops", "streaming"]
