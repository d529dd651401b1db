"""Clusters of frames: k-means, and how much its labels say about phones."""
