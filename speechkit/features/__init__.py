"""Acoustic features and their normalisation; the home of kaldifeat."""
