"""Between truth and raw outputs, without a network."""
