"""Prediction: windows of a network over overlapping chunks, blended exactly."""
