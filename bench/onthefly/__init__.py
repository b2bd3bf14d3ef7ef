"""On-the-fly fine-tuning: what it costs, whether it keeps its promise, what it asks by."""
