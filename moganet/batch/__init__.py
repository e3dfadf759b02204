"""Predictions of more images than one machine's memory, or one job, should hold."""
