"""Adversarial structures with a chosen error."""
