"""Search over recipes by Optuna."""
