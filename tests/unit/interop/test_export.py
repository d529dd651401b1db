"""Models trained here give in transformers and onnxruntime what they give here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import random_weights, write_speech
from own import TEXTS, encoder, finetuned
from torch import Tensor

from speechkit.cli import main
from speechkit.decode.greedy import greedy
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.features.fbank import FbankConfig
from speechkit.models.acoustic import AcousticModelConfig
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechkit.nn.quantise import QuantiserConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig
from speechkit.tasks import model_export
from speechkit.tasks.pretrain import PretrainConfig, save_pretrained
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang
from speechkit.train.checkpoint import load_tensors


def transcript(recognizer: Recognizer, waveform: Tensor) -> str:
    with torch.inference_mode():
        log_probs, frames = recognizer.module(waveform, torch.tensor([waveform.shape[1]]))
    words = recognizer.lang.words(greedy(log_probs, frames)[0])
    assert words
    return " ".join(words)


def transcript_there(folder: Path, waveform: Tensor) -> str:
    """By transformers alone, as its users do it."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "Wav2Vec2Processor"
    model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    inputs = processor(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        logits = model(inputs.input_values).logits
    text: str = processor.batch_decode(logits.argmax(-1))[0]
    return text


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_transformers_transcribes_the_same(tmp_path: Path, large: bool) -> None:
    pytest.importorskip("transformers", reason="transformers is the reference")
    recognizer = finetuned(tmp_path / "final", large, make_lang("char", TEXTS))
    waveform = write_speech(tmp_path / "a.wav")
    out = tmp_path / "hub" / "model"
    export = ["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]
    assert main([*export, "--audio", str(tmp_path / "a.wav")]) == 0
    assert " ".join(transcript_there(out, waveform).split()) == transcript(recognizer, waveform)
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    assert main(export) == 0  # in place of the earlier one


def test_phones_have_spaces_between_them(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is the reference")
    recognizer = finetuned(tmp_path / "final", False, make_lang("phone", [], phone_set=39))
    waveform = write_speech(tmp_path / "a.wav")
    out = tmp_path / "hub"
    export = ["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]
    assert main([*export, "--audio", str(tmp_path / "a.wav")]) == 0
    assert transcript_there(out, waveform) == transcript(recognizer, waveform)


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_a_pretrained_model_goes_there_and_back(tmp_path: Path, large: bool) -> None:
    """With its quantiser, so that pre-training can go on in either place."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    quantiser = QuantiserConfig(groups=2, entries=7, entry_dim=6, out_dim=10)
    config = PretrainConfig(wav2vec2=Wav2Vec2Config(encoder=encoder(large), quantiser=quantiser))
    weights = random_weights(Wav2Vec2(config.wav2vec2)).state_dict()
    save_pretrained(tmp_path / "final", config, weights)
    out, back = tmp_path / "hub", tmp_path / "back"
    assert main(["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]) == 0
    theirs, report = transformers.Wav2Vec2ForPreTraining.from_pretrained(out, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.num_codevectors_per_group == 7
    assert main(["import", "--format", "huggingface", "--in", str(out), "--out", str(back)]) == 0
    found = load_tensors(back / "model.safetensors")
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], each) for name, each in weights.items())
    assert json.loads((out / "preprocessor_config.json").read_text())["do_normalize"] is large


def test_the_encoder_of_hubert(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    config = PretrainConfig(method="hubert", hubert=HubertConfig(encoder=encoder(False)))
    save_pretrained(tmp_path / "final", config, random_weights(Hubert(config.hubert, [5])).state_dict())
    out = tmp_path / "hub"
    assert main(["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]) == 0
    theirs, report = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert type(theirs).__name__ == "HubertModel"
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_a_wrong_export_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="transformers is the reference")
    finetuned(tmp_path / "final", False, make_lang("char", TEXTS))
    original = model_export.write_model

    def slightly_wrong(folder: Path, config: Any, weights: dict[str, Tensor], heads: Any) -> None:
        changed = dict(weights)
        changed["projection.bias"] = changed["projection.bias"] + 1e-3
        original(folder, config, changed, heads)

    monkeypatch.setattr(model_export, "write_model", slightly_wrong)
    out = tmp_path / "hub"
    assert main(["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]) == 1
    assert "gives other outputs in transformers" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_checkpoints_that_cannot_go_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lang = make_lang("char", TEXTS)
    stats = CmvnStats(1, torch.zeros(80, dtype=torch.float64), torch.ones(80, dtype=torch.float64))
    sizes = TransformerConfig(dim=16, layers=1, heads=1, feed_forward=16)
    fbank = Recognizer(CtcConfig(model=AcousticModelConfig(transformer=sizes)), lang, Cmvn(stats))
    fbank.save(tmp_path / "fbank", fbank.module.state_dict())
    finetuned(tmp_path / "lfmmi", False, lang, loss="lfmmi")
    frames = ExtractorConfig(in_dim=80, dim=32, kernels=(3,), strides=(2,), norm="layer")
    mel = CtcConfig(encoder=replace(encoder(True), log_mel=FbankConfig(), extractor=frames))
    Recognizer(mel, lang, Cmvn()).save(tmp_path / "mel", Recognizer(mel, lang, Cmvn()).module.state_dict())
    for name, message in (
        ("fbank", "works on features"),
        ("lfmmi", "was trained by lfmmi"),
        ("mel", "reads log-mel frames"),
        ("none", "holds no model"),
    ):
        export = ["export", "--format", "huggingface", "--checkpoint", str(tmp_path / name)]
        assert main([*export, "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert isinstance(finetuned(tmp_path / "a", False, lang).module, FinetunedEncoder)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    export = ["export", "--format", "huggingface", "--checkpoint", str(tmp_path / "a"), "--out", str(tmp_path / "out")]
    assert main(export) == 2
    assert "holds something else" in capsys.readouterr().err
