"""The checklist of wav2vec 2.0, lines 10 and 12, fine-tuning and decoding; see test_wav2vec2_checklist.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from small_models import small_encoder
from sounds import write_sounds
from torch import Tensor
from torch.nn import functional as F

from speechkit.config.load import from_dict, load_config, to_dict
from speechkit.data.batches import Batch, BatchConfig, load_cuts
from speechkit.decode.beam import Hypothesis, Weights
from speechkit.decode.greedy import greedy
from speechkit.features.cmvn import Cmvn
from speechkit.losses.ctc import ctc_loss
from speechkit.models import finetuned
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.nn import masking
from speechkit.nn.lengths import valid_mask
from speechkit.nn.masking import SpanMaskConfig, span_mask
from speechkit.nn.waveform import ExtractorConfig
from speechkit.tasks.ctc import CtcTask
from speechkit.tasks.pretrain import PretrainConfig
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang
from speechkit.train.distributed import World
from speechkit.train.schedule import learning_rate

PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper"
# Table 6 and section 4.3: time and channel probability of a span, updates, peak learning rate of BASE.
TABLE = {
    "10min": (0.075, 0.008, 12_000, 3e-5),
    "1h": (0.075, 0.004, 13_000, 3e-5),
    "10h": (0.065, 0.004, 20_000, 3e-5),
    "100h": (0.05, 0.008, 50_000, 3e-5),
    "960h": (0.05, 0.0016, 320_000, 1e-4),
}


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("labels", TABLE)
def test_4_10_settings_of_fine_tuning(labels: str, size: str) -> None:
    """Extractor frozen, masks of table 6, 64 channels wide, three stages of the learning rate."""
    config = load_config(CtcConfig, PAPER / f"wav2vec2_{size}_{labels}.yaml")
    pretrained = load_config(PretrainConfig, PAPER / f"wav2vec2_{size}_pretrain.yaml")
    time, channel, updates, peak = TABLE[labels]
    tuned = config.finetune.applied(pretrained.encoder)
    assert tuned.extractor.gradient_scale == 0
    assert (tuned.time_mask.probability, tuned.time_mask.length) == (time, 10)
    assert (tuned.channel_mask.probability, tuned.channel_mask.length) == (channel, 64)
    assert config.finetune.head_updates == 10_000
    assert (config.train.max_updates, config.train.eps) == (updates, 1e-8)
    assert tuned.transformer.layer_drop == (0.05 if size == "base" else 0.1)
    schedule = config.train.schedule
    rates = [learning_rate(schedule, round(share * updates), updates) for share in (0.05, 0.1, 0.3, 0.4999, 0.75, 1.0)]
    peak = peak if size == "base" or labels != "960h" else 3e-5
    expected = [0.5, 1.0, 1.0, 1.0, 0.05**0.5, 0.05]
    assert rates == pytest.approx([peak * each for each in expected], rel=2e-3)


@pytest.mark.parametrize("size", ["base", "large", "large_lv60k"])
def test_4_10_fine_tuning_normalises_waveforms_as_pre_training_did(size: str) -> None:
    """Line 1 too: whatever norms a model was pre-trained with stay, and come back from its checkpoint."""
    pretrained = load_config(PretrainConfig, PAPER / f"wav2vec2_{size}_pretrain.yaml").encoder
    large = size == "large_lv60k"
    assert (pretrained.extractor.normalise, pretrained.extractor.norm) == (large, "layer" if large else "first")
    assert pretrained.transformer.norm_first == large
    tuned = CtcConfig().finetune.applied(pretrained)
    assert replace(tuned.extractor, gradient_scale=pretrained.extractor.gradient_scale) == pretrained.extractor
    assert tuned.transformer.norm_first == large
    config = CtcConfig(encoder=tuned)
    assert from_dict(CtcConfig, to_dict(config), "test").encoder == tuned


def test_4_10_masks_of_one_routine_and_blank_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time masks and channel masks are both drawn by `span_mask`; padding is certain to be blank, and costs nothing.

    (That the extractor stays, the output layer learns first, and what masks write: tasks/test_finetune.py.)
    """
    drawn: list[SpanMaskConfig] = []
    config = replace(
        small_encoder(gradient_scale=0.0),
        time_mask=SpanMaskConfig(probability=0.05, length=4),
        channel_mask=SpanMaskConfig(probability=0.1, length=8, least=0),
    )

    def recorded(lengths: list[int], width: int, config: SpanMaskConfig, **options: bool) -> Tensor:
        drawn.append(config)
        return span_mask(lengths, width, config, **options)

    monkeypatch.setattr(finetuned, "span_mask", recorded)
    monkeypatch.setattr(masking, "span_mask", recorded)
    torch.manual_seed(10)
    model, samples = FinetunedEncoder(config, 5), torch.tensor([2000, 900])
    log_probs, lengths = model.train()(torch.randn(2, 2000), samples)
    assert drawn == [config.time_mask, config.channel_mask]
    padding = ~valid_mask(lengths, log_probs.shape[1])
    assert (log_probs[padding].argmax(-1) == 0).all()
    assert torch.equal(log_probs[padding].exp().sum(-1), torch.ones(int(padding.sum())))
    targets = torch.tensor([[1, 2, 2, 4], [3, 1, 0, 0]])
    loss = ctc_loss(log_probs, lengths, targets, torch.tensor([4, 2]))
    widened = ctc_loss(log_probs, torch.tensor([log_probs.shape[1]] * 2), targets, torch.tensor([4, 2]))
    torch.testing.assert_close(loss, widened)  # blanks behind the end have probability 1
    loss.backward()
    assert all(each.grad.isfinite().all() for each in model.parameters() if each.grad is not None)


def test_4_10_what_has_no_path_costs_nothing(tmp_path: Path) -> None:
    """Where others set infinite losses to zero: an utterance too short for its transcript is left out, and named."""
    write_sounds(tmp_path, train=4)
    cuts = list(load_cuts(tmp_path / "cuts_train.jsonl.gz"))
    cuts[2].supervisions[0].text = "a" * 200
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts_train.jsonl.gz")
    encoder = replace(small_encoder(gradient_scale=0.0), extractor=ExtractorConfig(dim=8, gradient_scale=0.0))
    config = CtcConfig(encoder=encoder, batches=BatchConfig(max_duration=30, workers=0))
    task = CtcTask(Recognizer(config, make_lang("char", ["a b"]), Cmvn()), tmp_path, 0, World())
    assert task.dropped == ["train2"]
    (batch,) = task.batches.epoch(0, 0)
    assert float(task.loss(task.module, batch)[0].detach()) < float("inf")


def test_4_12_emissions_letters_and_words() -> None:
    """Log-softmax over letters; `|` ends a word; repeats become one before blanks go; weights as in the papers."""
    lang = make_lang("char", ["tooth to"])
    recognizer = Recognizer(CtcConfig(encoder=small_encoder()), lang, Cmvn())
    samples = torch.tensor([2000, 1500])
    zeros = torch.zeros(2, 0, dtype=torch.int64)
    batch = Batch(["a", "b"], 0.2, torch.randn(2, 2000), samples, zeros, torch.zeros(2, dtype=torch.int64), [{}, {}])
    ((_, log_probs, lengths),) = recognizer.emissions([batch], torch.device("cpu"))
    assert log_probs.shape == (2, 99, len(lang.tokens))
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 99))
    raw = recognizer.module.output(recognizer.module.encoder(batch.features, samples).layers[-1]).log_softmax(-1)
    torch.testing.assert_close(log_probs[1, : lengths[1]], raw[1, : lengths[1]])
    path = lang.tokens.ids("t o o | t t _ o _ o t h h".replace("_", lang.tokens.symbols([0])[0]).split())
    path += lang.tokens.ids(["|"])
    emitted = F.one_hot(torch.tensor([path]), len(lang.tokens)).float().log()
    (ids,) = greedy(emitted, torch.tensor([len(path)]))
    assert "".join(lang.tokens.symbols(ids)) == "to|tooth|"
    assert lang.words(ids) == ["to", "tooth"]
    # BASE, 10 h, 4-gram (table 7): LM weight on log10 probabilities, as KenLM gives them, and a score per word.
    best = Hypothesis(["to", "tooth"], acoustic=-7.0, lm=-3.0)
    assert best.score(Weights(lm=2.46, word=-0.59)) == pytest.approx(-7.0 - 2.46 * 3.0 - 0.59 * 2)
