"""A neural language model as the beam search reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechkit.tasks.language_model import LanguageModel


class FusedLanguageModel:
    """The `speechkit.decode.fusion.TokenModel` of a trained language model, on a GPU if there is one."""

    def __init__(self, model: LanguageModel, device: torch.device) -> None:
        self.model, self.device = model, device
        model.module.to(device).eval()
        self.encode_word, self.encode_begun = model.units.encode_word, model.units.encode_begun

    @classmethod
    def load(cls, folder: Path) -> "FusedLanguageModel":
        """Read what `LanguageModel.save` wrote."""
        return cls(LanguageModel.load(folder), torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def first_log_probs(self, words: Sequence[str]) -> list[float]:
        """Natural-log probability of each word at the beginning of a sentence."""
        return self.model.token_log_probs([self.encode_word(word) for word in words], self.device)

    def start(self) -> Any:
        """State before the first token."""
        return self.model.module.start()

    def read(self, states: Sequence[Any], tokens: Sequence[int]) -> tuple[npt.NDArray[np.float32], list[Any], int]:
        """Read a token after each state: natural-log probabilities `(N, V)` of the next, states then, their bytes."""
        with torch.inference_mode():
            log_probs, after = self.model.module.read(states, tokens)
        tensors = (each for state in after for each in state if isinstance(each, torch.Tensor))
        return log_probs.cpu().numpy(), after, sum(each.nbytes for each in tensors)
