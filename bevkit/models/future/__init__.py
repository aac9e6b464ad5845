"""Heads of the future: instance prediction."""
