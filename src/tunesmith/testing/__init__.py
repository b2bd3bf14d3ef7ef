"""Contracts that backends of other packages can test themselves against."""
