"""Measurements side by side: ``python -m bench``, from the project's own folder."""
