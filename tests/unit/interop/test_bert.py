"""A BERT of Hugging Face gives here what it gives there; folders that lack something are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import random_weights
from torch import Tensor

from speechkit.cli import main
from speechkit.interop import bert
from speechkit.tasks.text_bert import TextBertModel
from speechkit.text.bert_vocabulary import SPECIAL

transformers = pytest.importorskip("transformers", reason="transformers is the reference")
SIZES = {
    "vocab_size": 12, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 30, "layer_norm_eps": 1e-3, "hidden_dropout_prob": 0.2,
}  # fmt: skip
TOKENS = [*SPECIAL, *"一二三四五六", "##七"]


def theirs(kind: str = "BertForMaskedLM", **changes: object) -> Any:
    return random_weights(getattr(transformers, kind)(transformers.BertConfig(**(SIZES | changes))))


def folder_of(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return folder


def old_names(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def save_as_of_old(folder: Path, model: Any, rename: Callable[[str], str] = old_names) -> Path:
    """As bert-base-chinese is: a file of torch.save with the names of TensorFlow, the copied matrix, the pooler."""
    folder_of(folder, model)
    (folder / "model.safetensors").unlink()
    state = {rename(name): each for name, each in model.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def imported(source: Path, out: Path) -> int:
    return main(["import", "--format", "bert", "--in", str(source), "--out", str(out)])


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of two sequences of 9 and 5, and which places are valid."""
    torch.manual_seed(3)
    lengths = torch.tensor([9, 5])
    return torch.randint(len(TOKENS), (2, 9)), lengths, torch.arange(9) < lengths[:, None]


@pytest.mark.parametrize("old", [False, True])
def test_hidden_states_and_logits_are_those_of_transformers(tmp_path: Path, old: bool) -> None:
    """In a padded batch, and with something added to the embeddings of the tokens."""
    model = theirs("BertForPreTraining" if old else "BertForMaskedLM")
    source = save_as_of_old(tmp_path / "theirs", model) if old else folder_of(tmp_path / "theirs", model)
    assert imported(source, tmp_path / "ours") == 0
    ours = TextBertModel.load(tmp_path / "ours")
    module = ours.module.eval()
    tokens, lengths, mask = batch()
    extra = torch.randn(2, 9, SIZES["hidden_size"])
    with torch.inference_mode():
        vectors = model.get_input_embeddings()(tokens)
        for added in (torch.zeros_like(extra), extra):
            expected = model(inputs_embeds=vectors + added, attention_mask=mask.long(), output_hidden_states=True)
            logits = expected.prediction_logits if old else expected.logits
            found = module(tokens, lengths, added)
            torch.testing.assert_close(found[mask], expected.hidden_states[-1][mask], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(module.predict(found[mask]), logits[mask], rtol=1e-4, atol=1e-4)
            if added is not extra:
                for one, other in zip(module.layers(tokens, lengths), expected.hidden_states[1:], strict=True):
                    torch.testing.assert_close(one[mask], other[mask], rtol=1e-4, atol=1e-4)
    assert ours.vocabulary.tokens == TOKENS
    config = ours.config.model
    assert (config.positions, config.norm_eps, config.dropout, config.heads) == (30, 1e-3, 0.2, 4)


def test_what_is_written_is_written_again(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "theirs", theirs())
    for _ in range(2):
        assert imported(source, tmp_path / "ours") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert imported(source, tmp_path / "mine") == 2


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_setting(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | {name: value}))

    return change


def shorter_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(TOKENS[:-1]), encoding="utf-8")


def garbled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), "has no config.json"),
        (without("vocab.txt"), "vocab.txt does not exist"),
        (without("model.safetensors"), "has neither model.safetensors nor pytorch_model.bin"),
        (garbled, "model.safetensors is damaged"),
        (shorter_vocabulary, "vocab.txt holds 11 tokens for a model of 12"),
        (with_setting("model_type", "roformer"), "config.json has model_type 'roformer'"),
        (with_setting("hidden_act", "relu"), "config.json has hidden_act 'relu'"),
        (with_setting("max_position_embeddings", 512), "says max_position_embeddings 512, but the weights have 30"),
        (with_setting("num_attention_heads", 5), "must be a multiple of heads 5"),
        (with_setting("num_attention_heads", 3), "gives other outputs in transformers"),
    ],
)
def test_folders_that_lack_something(
    tmp_path: Path, spoil: Callable[[Path], None], message: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = folder_of(tmp_path / "theirs", theirs())
    if "other outputs" in message:  # the folder as transformers sees it is the right one
        right = folder_of(tmp_path / "right", theirs())
        monkeypatch.setattr(
            "speechkit.tasks.bert_import.reference_outputs", lambda _, *x: bert.reference_outputs(right, *x)
        )
    spoil(source)
    assert imported(source, tmp_path / "ours") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "speechkit import: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert str(source) in errors[0]
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            lambda name: name.replace("bert.encoder", "bert.encoder.adapter"),
            "has tensors that a BERT lacks: encoder.ada",
        ),
        (lambda name: name.replace("word_embeddings", "words"), "holds no tensor embeddings.word_embeddings.weight"),
        (lambda name: name.replace("cls.", "bert.pooler."), "lacks the head for masked tokens (cls.predictions)"),
        (lambda name: name.replace("bert.embeddings.LayerNorm", "pooler."), "lacks the tensor of norm.weight"),
        (lambda name: name.replace("0.attention.self.key", "1.attention.self.key"), "lacks keys or values beside"),
    ],
)
def test_tensors_of_other_models(
    tmp_path: Path, rename: Callable[[str], str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save_as_of_old(tmp_path / "theirs", theirs(), rename)
    assert imported(source, tmp_path / "ours") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_a_head_that_is_not_tied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_as_of_old(tmp_path / "theirs", theirs(), lambda name: name)
    state = torch.load(source / "pytorch_model.bin")
    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    torch.save(state, source / "pytorch_model.bin")
    assert imported(source, tmp_path / "ours") == 1
    assert "in a BERT they are one matrix" in capsys.readouterr().err


def test_a_file_that_is_no_state_dict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_as_of_old(tmp_path / "theirs", theirs())
    torch.save({"model": {"a": torch.ones(2)}}, source / "pytorch_model.bin")
    assert imported(source, tmp_path / "ours") == 1
    assert "pytorch_model.bin is no state dict" in capsys.readouterr().err


def test_transformers_is_needed_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "theirs", theirs())
    monkeypatch.setattr("speechkit.interop.reference.installed", lambda name: False)
    assert imported(source, tmp_path / "ours") == 1
    assert "-m pip install transformers\n" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_options_of_speech_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--format", "bert", "--in", "a", "--out", "b", "--heads", "4"]) == 2
    assert "--heads goes with --format huggingface or torchaudio or fairseq, not bert" in capsys.readouterr().err
