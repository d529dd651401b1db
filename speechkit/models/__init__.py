"""One file per system, assembled from `speechkit.nn`."""
