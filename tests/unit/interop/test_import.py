"""Models of Hugging Face, torchaudio and fairseq give here what they give there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import KERNELS, STRIDES, of_torchaudio, of_transformers, save_fairseq, save_fairseq_of_old, write_speech
from torch import Tensor, nn

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError
from speechkit.decode.greedy import greedy
from speechkit.interop import checkpoint
from speechkit.interop.huggingface import read_symbols
from speechkit.interop.names import FAIRSEQ, HUGGINGFACE, TORCHAUDIO, from_names, to_names
from speechkit.models.hubert import Hubert
from speechkit.models.wav2vec2 import Wav2Vec2
from speechkit.tasks.pretrain import load_encoder, load_pretrained
from speechkit.tasks.recognizer import Recognizer
from speechkit.train.checkpoint import load_tensors

LETTERS = ["<s>", "<pad>", "</s>", "|", "e", "t", "a", "é"]
CHOSEN = ["--strides", *map(str, STRIDES)]


def save_for_transformers(model: Any, folder: Path, *, safe: bool = True, normalise: bool | None = None) -> Path:
    """As people save models, with a blank that is not the first token."""
    folder.mkdir()
    model.config.save_pretrained(folder)
    if safe:
        model.save_pretrained(folder)
    else:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(LETTERS)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>", "unk_token": "</s>"})
    )
    if normalise is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalise}))
    return folder


def layers_here(folder: Path, waveform: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return load_encoder(folder)(waveform, torch.tensor([waveform.shape[1]])).layers


def log_probs_here(folder: Path, waveform: Tensor) -> tuple[Tensor, Recognizer]:
    recognizer = Recognizer.load(folder)
    with torch.inference_mode():
        return recognizer.module.eval()(waveform, torch.tensor([waveform.shape[1]]))[0], recognizer


def normalised(waveform: Tensor) -> Tensor:
    return nn.functional.layer_norm(waveform, waveform.shape)


@pytest.mark.parametrize(
    ("kind", "large"),
    [("Wav2Vec2Model", True), ("Wav2Vec2ForPreTraining", False), ("HubertModel", False), ("HubertModel", True)],
)
def test_pretrained_models_of_transformers(tmp_path: Path, kind: str, large: bool) -> None:
    theirs = of_transformers(kind, large)
    source = save_for_transformers(theirs, tmp_path / "theirs", normalise=large)
    audio, out = tmp_path / "a.wav", tmp_path / "ours"
    waveform = write_speech(audio)
    assert (
        main(["import", "--format", "huggingface", "--in", str(source), "--out", str(out), "--audio", str(audio)]) == 0
    )
    with torch.inference_mode():
        heard = normalised(waveform) if large else waveform
        expected = theirs.base_model(heard, output_hidden_states=True)
    found = layers_here(out, waveform)
    torch.testing.assert_close(found[0], expected.hidden_states[1], rtol=1e-4, atol=1e-4)
    encoder = load_encoder(out)
    assert torch.equal(encoder.time_mask.vector, theirs.base_model.masked_spec_embed)
    with torch.inference_mode():
        frames, lengths, _ = encoder.extract(waveform, torch.tensor([waveform.shape[1]]))
        torch.testing.assert_close(encoder.encode(frames, lengths), expected.last_hidden_state, rtol=1e-4, atol=1e-4)
    assert load_pretrained(out)[0].method == ("hubert" if kind.startswith("Hubert") else "wav2vec2")


def test_a_pretraining_goes_on_with_its_quantiser(tmp_path: Path) -> None:
    theirs = of_transformers("Wav2Vec2ForPreTraining", False)
    source = save_for_transformers(theirs, tmp_path / "theirs")
    assert main(["import", "--format", "huggingface", "--in", str(source), "--out", str(tmp_path / "ours")]) == 0
    model = Wav2Vec2(load_pretrained(tmp_path / "ours")[0].wav2vec2)
    model.load_state_dict(load_tensors(tmp_path / "ours" / "model.safetensors"))
    frames = torch.randn(5, 32)
    with torch.no_grad():
        expected, _ = theirs.quantizer(frames.unsqueeze(0))
        found = model.eval().quantiser(frames, 1.0).vectors
        torch.testing.assert_close(found, theirs.project_q(expected)[0])


@pytest.mark.parametrize(("kind", "large", "safe"), [("Wav2Vec2ForCTC", False, False), ("HubertForCTC", True, True)])
def test_recognisers_of_transformers(tmp_path: Path, kind: str, large: bool, safe: bool) -> None:
    """The blank, which is token 1 there, becomes token 0 here, and both transcribe the same."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    theirs = of_transformers(kind, large, vocab_size=len(LETTERS), pad_token_id=1)
    source = save_for_transformers(theirs, tmp_path / "theirs", safe=safe)
    audio, out = tmp_path / "a.wav", tmp_path / "ours"
    waveform = write_speech(audio)
    assert (
        main(["import", "--format", "huggingface", "--in", str(source), "--out", str(out), "--audio", str(audio)]) == 0
    )
    found, recognizer = log_probs_here(out, waveform)
    with torch.inference_mode():
        logits = theirs(normalised(waveform) if large else waveform).logits
    order = [1, 0, *range(2, len(LETTERS))]
    torch.testing.assert_close(found, logits.log_softmax(-1)[..., order], rtol=1e-4, atol=1e-4)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(source)
    words = recognizer.lang.words(greedy(found, torch.tensor([found.shape[1]]))[0])
    assert words
    assert " ".join(words) == " ".join(tokenizer.batch_decode(logits.argmax(-1))[0].split())
    assert list(recognizer.lang.tokens) == ["<blk>", "<s>", *LETTERS[2:]]


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_state_dicts_of_torchaudio(tmp_path: Path, large: bool, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = of_torchaudio(large, tokens=6)
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    (tmp_path / "tokens.txt").write_text("- 0\n| 1\ne 2\nt 3\na 4\né 5\n")
    (tmp_path / "lexicon.txt").write_text("eat e a t |\n")
    waveform = write_speech(tmp_path / "a.wav")
    command = ["import", "--format", "torchaudio", "--in", str(tmp_path / "x.pth"), "--out", str(tmp_path / "ours")]
    known = [*CHOSEN, "--heads", "4", "--audio", str(tmp_path / "a.wav")]
    assert main([*command, *known]) == 1
    assert (
        main([*command, *known, "--tokens", str(tmp_path / "tokens.txt"), "--lexicon", str(tmp_path / "lexicon.txt")])
        == 0
    )
    with torch.inference_mode():
        expected, _ = theirs(normalised(waveform) if large else waveform)
    found, recognizer = log_probs_here(tmp_path / "ours", waveform)
    torch.testing.assert_close(found, expected.log_softmax(-1), rtol=1e-4, atol=1e-4)
    assert recognizer.lang.lexicon.words == ["eat"]
    assert f"assumed: {'with' if large else 'without'} norms before attention" in capsys.readouterr().err


def test_hubert_of_torchaudio_with_its_class_vectors(tmp_path: Path) -> None:
    theirs = of_torchaudio(False)
    state = {f"wav2vec2.{name}": each for name, each in theirs.state_dict().items()}
    state |= {
        "mask_generator.mask_embedding": torch.randn(48), "logit_generator.label_embeddings": torch.randn(7, 16),
        "logit_generator.final_proj.weight": torch.randn(16, 48), "logit_generator.final_proj.bias": torch.randn(16),
    }  # fmt: skip
    torch.save(state, tmp_path / "x.pth")
    out = tmp_path / "ours"
    command = ["import", "--format", "torchaudio", "--in", str(tmp_path / "x.pth"), "--out", str(out), "--heads", "4"]
    assert main([*command, *CHOSEN]) == 0
    config, weights = load_pretrained(out)
    model = Hubert(config.hubert, [7])
    model.load_state_dict(load_tensors(out / "model.safetensors"))
    assert (config.method, config.hubert.final_dim) == ("hubert", 16)
    assert torch.equal(weights["time_mask.vector"], state["mask_generator.mask_embedding"])
    assert torch.equal(model.get_parameter("heads.0.classes"), state["logit_generator.label_embeddings"])


def layers_of(strides: tuple[int, ...]) -> str:
    """As fairseq's settings tell of convolutions."""
    shapes = list(zip(KERNELS, strides, strict=True))
    return f"[(32, {shapes[0][0]}, {shapes[0][1]})] + [(32,{shapes[1][0]},{shapes[1][1]})] * 1 + [(32, 2, 2)]"


def test_an_old_checkpoint_of_fairseq(tmp_path: Path) -> None:
    """Settings of argparse, half precision, and the quantiser."""
    theirs = of_torchaudio(True)
    state = to_names(from_names(theirs.state_dict(), TORCHAUDIO), FAIRSEQ)
    state |= {
        "mask_emb": torch.randn(48), "quantizer.vars": torch.randn(1, 14, 6), "project_q.weight": torch.randn(10, 12),
        "project_q.bias": torch.randn(10), "final_proj.weight": torch.randn(10, 48), "final_proj.bias": torch.randn(10),
        "quantizer.weight_proj.weight": torch.randn(14, 32), "quantizer.weight_proj.bias": torch.randn(14),
    }  # fmt: skip
    state = {name: each.half() for name, each in state.items()}
    settings = {"encoder_attention_heads": 4, "layer_norm_first": True, "normalize": False, "arch": "wav2vec2"}
    save_fairseq_of_old(tmp_path / "x.pt", state, conv_feature_layers=layers_of(STRIDES), **settings)
    out = tmp_path / "ours"
    assert main(["import", "--format", "fairseq", "--in", str(tmp_path / "x.pt"), "--out", str(out)]) == 0
    config, _ = load_pretrained(out)
    model = Wav2Vec2(config.wav2vec2)
    model.load_state_dict(load_tensors(out / "model.safetensors"))
    assert config.encoder.extractor.strides == STRIDES
    assert not config.encoder.extractor.normalise
    assert (config.wav2vec2.quantiser.groups, config.wav2vec2.quantiser.entries) == (2, 7)
    theirs.load_state_dict({name: each.half().float() for name, each in theirs.state_dict().items()})
    waveform = write_speech(tmp_path / "a.wav")
    with torch.inference_mode():
        expected, _ = theirs.extract_features(waveform)
    for ours, other in zip(layers_here(out, waveform), expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)


def test_a_fine_tuned_checkpoint_of_fairseq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings in nodes of OmegaConf, those of the pre-trained model inside of them, and the dictionary."""
    theirs = of_torchaudio(False, tokens=len(LETTERS))
    state = to_names(from_names(theirs.state_dict(), TORCHAUDIO), FAIRSEQ)
    state = {f"w2v_encoder.w2v_model.{name}": each for name, each in state.items()}
    state |= {f"w2v_encoder.proj.{name}": each for name, each in theirs.aux.state_dict().items()}
    inner = {
        "_name": "hubert", "encoder_attention_heads": 4, "layer_norm_first": False,
        "conv_feature_layers": layers_of(STRIDES),
    }  # fmt: skip
    cfg = {"task": {"normalize": True}, "model": {"_name": "hubert_ctc", "w2v_args": {"model": inner}}}
    save_fairseq(tmp_path / "x.pt", state, cfg, LETTERS)
    out = tmp_path / "ours"
    assert main(["import", "--format", "fairseq", "--in", str(tmp_path / "x.pt"), "--out", str(out)]) == 0
    assert "fairseq is not installed: the tensors are run in the model of torchaudio" in capsys.readouterr().err
    waveform = write_speech(tmp_path / "a.wav")
    found, recognizer = log_probs_here(out, waveform)
    with torch.inference_mode():
        expected, _ = theirs(normalised(waveform))
    torch.testing.assert_close(found, expected.log_softmax(-1), rtol=1e-4, atol=1e-4)
    assert list(recognizer.lang.tokens) == ["<blk>", *LETTERS[1:]]


def test_without_torchaudio_transformers_runs_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="transformers is the reference")
    theirs = of_torchaudio(True, tokens=6)
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    (tmp_path / "tokens.txt").write_text("| 1\ne 2\nt 3\na 4\né 5\n")
    monkeypatch.setattr("speechkit.interop.reference.installed", lambda name: name != "torchaudio")
    command = ["import", "--format", "torchaudio", "--in", str(tmp_path / "x.pth"), "--out", str(tmp_path / "ours")]
    assert main([*command, *CHOSEN, "--heads", "4", "--tokens", str(tmp_path / "tokens.txt")]) == 0
    assert "compared with transformers on" in capsys.readouterr().err
    monkeypatch.setattr("speechkit.interop.reference.installed", lambda name: False)
    assert main([*command, *CHOSEN]) == 1
    assert "-m pip install transformers\n" in capsys.readouterr().err


def test_a_wrong_tensor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save_for_transformers(of_transformers("HubertModel", False), tmp_path / "theirs")

    def slightly_wrong(state: dict[str, Tensor], names: Any) -> dict[str, Tensor]:
        found = from_names(state, names)
        found["transformer.blocks.1.qkv.weight"][3, 5] += 1e-2
        return found

    monkeypatch.setattr(checkpoint, "from_names", slightly_wrong)
    assert main(["import", "--format", "huggingface", "--in", str(source), "--out", str(tmp_path / "ours")]) == 1
    assert "gives other outputs in transformers" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_norms_of_another_epsilon_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing here reads that setting: only the outputs tell."""
    source = save_for_transformers(of_transformers("HubertModel", False, layer_norm_eps=1e-3), tmp_path / "theirs")
    assert main(["import", "--format", "huggingface", "--in", str(source), "--out", str(tmp_path / "ours")]) == 1
    assert "gives other outputs" in capsys.readouterr().err


def test_models_of_other_kinds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_for_transformers(of_transformers("Wav2Vec2Model", False, add_adapter=True), tmp_path / "a")
    command = ["import", "--format", "huggingface", "--out", str(tmp_path / "ours"), "--in"]
    assert main([*command, str(source)]) == 1
    assert "has tensors that wav2vec 2.0 and HuBERT lack: adapter." in capsys.readouterr().err
    (source / "config.json").write_text('{"model_type": "wavlm"}')
    assert main([*command, str(source)]) == 1
    assert "of type 'wavlm'" in capsys.readouterr().err
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "x.pth")
    assert (
        main(["import", "--format", "torchaudio", "--in", str(tmp_path / "x.pth"), "--out", str(tmp_path / "o")]) == 1
    )
    assert "holds no tensor feature_extractor" in capsys.readouterr().err
    assert main(["import", "--format", "fairseq", "--in", str(tmp_path / "x.pth"), "--out", str(tmp_path / "o")]) == 1
    assert "no checkpoint of fairseq" in capsys.readouterr().err


def test_another_folder_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main(["import", "--format", "huggingface", "--in", str(tmp_path), "--out", str(tmp_path / "mine")]) == 2
    assert "holds something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("import --format huggingface --in a --out b --tokens c", "--tokens goes with --format torchaudio or fairseq"),
        ("import --format kaldi --in a --out b --audio c", "--audio goes with --format huggingface or torchaudio or"),
        ("import --format fairseq --in a --out b --split dev", "--split goes with --format kaldi or audiofolder or"),
        ("export --format onnx --out b", "--format onnx needs --checkpoint"),
        ("export --format huggingface --in a --out b", "--in goes with --format kaldi or audiofolder or shar, not"),
        (
            "export --format shar --checkpoint a --out b",
            "--checkpoint goes with --format huggingface or onnx, not shar",
        ),
        ("export --format kaldi --out b", "--format kaldi needs --in"),
    ],
)
def test_options_of_other_formats(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err


def test_vocabularies_of_hugging_face(tmp_path: Path) -> None:
    """Tokens with settings, tokens that were added, outputs without a token, and another mark between words."""
    (tmp_path / "vocab.json").write_text('{"[PAD]": 2, "a": 0, "_": 1}')
    added = {"3": {"content": "<s>"}, "9": {"content": "</s>"}}
    settings = {"pad_token": {"__type": "AddedToken", "content": "[PAD]"}, "word_delimiter_token": "_"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"added_tokens_decoder": added}))
    assert read_symbols(tmp_path, 5) == (["a", "|", "[PAD]", "<s>", "<unused4>"], 2)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "config.json").write_text('{"pad_token_id": 1}')
    assert read_symbols(tmp_path, 3) == (["a", "_", "[PAD]"], 1)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpeechkitError, match="names no pad_token"):
        read_symbols(tmp_path, 3)
    (tmp_path / "vocab.json").write_text('{"eng": {"a": 0}, "deu": {"b": 0}}')
    with pytest.raises(SpeechkitError, match="several languages"):
        read_symbols(tmp_path, 1)


def test_real_speech_of_8_khz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(os.environ.get("SPEECHKIT_DIGITS", Path(__file__).parents[4] / "shared" / "data" / "fsdd"))
    if not (root / "7_george_0.wav").is_file():
        pytest.skip("fetch the Free Spoken Digit Dataset and set SPEECHKIT_DIGITS to its folder of recordings")
    source = save_for_transformers(of_transformers("Wav2Vec2Model", True), tmp_path / "theirs")
    command = ["import", "--format", "huggingface", "--in", str(source), "--out", str(tmp_path / "ours")]
    assert main([*command, "--audio", str(root / "7_george_0.wav")]) == 0
    assert "compared with transformers on 0." in capsys.readouterr().err
    assert set(to_names(load_pretrained(tmp_path / "ours")[1], HUGGINGFACE))
