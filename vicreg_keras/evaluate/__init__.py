"""Evaluation protocols: arrays in, typed results out, one protocol per file."""
