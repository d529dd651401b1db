"""The engines behind `speechkit.fsa.intersect`: k2, and the one that is built in."""
