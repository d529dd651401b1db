"""Pre-training steps of wav2vec 2.0 and HuBERT base: speechkit against transformers and torchaudio, in turn.

A step is forward, backward and an optimiser's update on one padded batch of utterances of LibriSpeech-like lengths, in
training mode, with the same masking settings and without layer drop (so that all compute the same blocks). The last
line is JSON: "ratio" is the least of transformers' time / 1.5 and torchaudio's / 1.3 over ours, what is asked being 1;
"ratios" has each.
"""

import argparse
import json
from collections.abc import Callable

import torch
from timing import compare
from torch import Tensor, nn

from speechkit.losses.contrastive import sample_negatives
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechkit.nn.masking import SpanMaskConfig, span_mask
from speechkit.nn.transformer import TransformerConfig

# Seconds: the 15th, 50th and 75th percentile of LibriSpeech's training utterances.
SECONDS = (6.2, 13.9, 15.2)
RATE, CLASSES, NEGATIVES = 16000, 100, 100
BASE = TransformerConfig()
Step = Callable[[], None]


def make_batch(scale: float) -> tuple[Tensor, Tensor]:
    """Noise `(N, S)`, and lengths `(N,)`."""
    lengths = torch.tensor([int(seconds * scale * RATE) for seconds in SECONDS])
    waveforms = torch.randn(len(lengths), int(lengths.max())) * 0.1
    waveforms *= torch.arange(waveforms.shape[1]) < lengths[:, None]
    return waveforms, lengths


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A training step of a model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def wav2vec2(waveforms: Tensor, lengths: Tensor) -> Step:
    """Ours."""
    model = Wav2Vec2(Wav2Vec2Config(encoder=SpeechEncoderConfig(transformer=BASE))).train()
    return step(model, lambda: model(waveforms, lengths).total)


def transformers_wav2vec2(waveforms: Tensor, lengths: Tensor) -> Step:
    """That of transformers, with masks and negatives from outside, as it wants them."""
    from transformers import Wav2Vec2Config as Config
    from transformers import Wav2Vec2ForPreTraining

    model = Wav2Vec2ForPreTraining(Config(layerdrop=0.0, num_negatives=NEGATIVES)).train()
    attention = (torch.arange(waveforms.shape[1]) < lengths[:, None]).long()
    encoder = SpeechEncoderConfig()
    frames = encoder.extractor.output_lengths(lengths)
    width = int(encoder.extractor.output_lengths(torch.tensor([waveforms.shape[1]])))

    def loss() -> Tensor:
        mask = span_mask(frames.tolist(), width, encoder.time_mask, same_count=True)
        count = int(mask[0].sum())
        chosen = sample_negatives(len(mask), count, NEGATIVES)
        places = torch.stack([row.nonzero().flatten() for row in mask])
        negatives = torch.zeros(*mask.shape, NEGATIVES, dtype=torch.int64)
        for n in range(len(mask)):
            negatives[n, places[n]] = places[n][chosen[n]] + n * width
        result: Tensor = model(
            waveforms, attention_mask=attention, mask_time_indices=mask, sampled_negative_indices=negatives
        ).loss
        return result

    return step(model, loss)


def make_labels(waveforms: Tensor) -> Tensor:
    """A label for each frame."""
    width = int(SpeechEncoderConfig().extractor.output_lengths(torch.tensor([waveforms.shape[1]])))
    return torch.randint(CLASSES, (len(waveforms), width))


def hubert(waveforms: Tensor, lengths: Tensor) -> Step:
    """Ours."""
    encoder = SpeechEncoderConfig(transformer=BASE, time_mask=SpanMaskConfig(probability=0.08, length=10))
    model, labels = Hubert(HubertConfig(encoder=encoder), [CLASSES]).train(), make_labels(waveforms)
    return step(model, lambda: model(waveforms, lengths, [labels]).total)


def torchaudio_hubert(waveforms: Tensor, lengths: Tensor) -> Step:
    """That of torchaudio, with the loss of its recipe."""
    from torchaudio.models import hubert_pretrain_base

    model = hubert_pretrain_base(encoder_layer_drop=0.0, num_classes=CLASSES).train()
    labels = make_labels(waveforms)

    def loss() -> Tensor:
        masked, _, penalty = model(waveforms, labels, lengths)
        zeros = torch.zeros(len(masked), dtype=torch.int64)
        result: Tensor = nn.functional.cross_entropy(masked, zeros, reduction="sum") + 10 * len(masked) * penalty
        return result

    return step(model, loss)


def main() -> None:
    """Time all in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.5, help="factor of the lengths; 1 takes minutes a step")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    batch = make_batch(args.scale)
    pairs = {
        "transformers wav2vec 2.0": ("wav2vec 2.0", wav2vec2(*batch), transformers_wav2vec2(*batch), 1.5),
        "torchaudio HuBERT": ("HuBERT", hubert(*batch), torchaudio_hubert(*batch), 1.3),
    }
    ratios = {}
    for peer, (name, ours, theirs, _) in pairs.items():
        seconds = compare({f"speechkit {name}": ours, peer: theirs}, args.repeats)
        ratios[peer] = round(seconds[peer] / seconds[f"speechkit {name}"], 2)
    least = min(ratios[peer] / wanted for peer, (*_, wanted) in pairs.items())
    print(json.dumps({"ratio": round(least, 2), "ratios": ratios, "threads": args.threads, "seconds": SECONDS}))


if __name__ == "__main__":
    main()
