"""Corpora, miniatures, manifests, datasets and augmentation; the home of lhotse."""
