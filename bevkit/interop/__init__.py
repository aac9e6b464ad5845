"""Bridges to other toolkits; the core needs none of them."""
