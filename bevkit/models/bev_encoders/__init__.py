"""Networks on the BEV plane."""
