"""Finite-state acceptors: graphs as flat arrays of arcs, topologies, compilation, and the engines that score them."""
