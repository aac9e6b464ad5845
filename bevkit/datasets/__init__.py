"""Data sets of clips, their augmentation and sampling."""
