"""Scores: pure functions under thin mmengine metrics."""
