"""Randomness: one seed reaches everything."""

import hashlib
import random


def derive(seed: int, *context: object) -> int:
    """A 63-bit seed that depends on `seed` and on every item of `context`, the same on every machine."""
    text = "/".join(str(item) for item in (seed, *context))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def seed_everything(seed: int, *context: object) -> None:
    """Seed Python, numpy and torch from `derive(seed, *context)`."""
    import numpy as np
    import torch

    value = derive(seed, *context)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
