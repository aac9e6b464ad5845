"""Losses: pure functions and the weights between them."""
