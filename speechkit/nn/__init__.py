"""Layers that the models are assembled from."""
