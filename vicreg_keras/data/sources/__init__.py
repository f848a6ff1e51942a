"""Loaders of each kind of dataset.

A loader is a function `(options) -> Source`: it finds the examples of the
dataset `scheme:location` and the splits that the dataset has of its own.
"""
