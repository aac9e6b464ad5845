"""Operators: a clear reference, a fast twin, and an exportable form where they differ."""
