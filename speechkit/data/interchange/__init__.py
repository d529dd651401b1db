"""Data of other toolkits, in and out: Kaldi data directories, Hugging Face audio folders, Lhotse Shar."""
