"""Configurations: frozen dataclasses read from YAML with `base:` and dotted overrides."""
