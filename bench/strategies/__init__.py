"""Fine-tuning strategies side by side."""
