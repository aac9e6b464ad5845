"""Heads of the present: detection and segmentation."""
