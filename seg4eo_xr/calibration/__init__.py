"""Calibration: whether confidence is how often a map is right."""
