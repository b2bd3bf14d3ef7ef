"""Fine-tuning against mace_run_train, and the stress in its loss."""
