"""One part of every kind that tunesmith takes from other packages."""
