"""Choosing from large pools, and the vectors that choices are made by."""
