"""Errors, atomic files, logging, progress, seeds and the environment report; imports nothing else of speechkit."""
