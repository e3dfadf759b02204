"""Trained models on disk: found, read without running anything that they hold, and written."""
