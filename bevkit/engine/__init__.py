"""The mmengine runner, its hooks and schedules."""
