"""Pure tensor functions of space: no classes, no config. Frames and axes are named in docs/conventions.md."""
