"""Public foundation models on small sets of DFT labels."""
