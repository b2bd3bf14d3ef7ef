"""Who should choose what is labelled."""
