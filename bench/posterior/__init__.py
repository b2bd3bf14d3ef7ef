"""Posteriors on a fixed data set."""
