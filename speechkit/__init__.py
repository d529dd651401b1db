"""speechkit: recipes, models and graphs for speech recognition with self-supervised learning."""

__version__ = "0.1.0"
