"""ONNX files give under onnxruntime what the model gives here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from own import TEXTS, finetuned

from speechkit.cli import main
from speechkit.text.lang import make_lang


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_onnx_gives_the_same_for_any_batch(tmp_path: Path, large: bool) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="the packages of ONNX are not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is the reference")
    recognizer = finetuned(tmp_path / "final", large, make_lang("char", TEXTS), layers=1)
    out = tmp_path / "model.onnx"
    assert main(["export", "--format", "onnx", "--checkpoint", str(tmp_path / "final"), "--out", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "model.onnx"]
    session = onnxruntime.InferenceSession(str(out))
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["tokens"]) == list(recognizer.lang.tokens)
    assert (known["sampling_rate"], known["samples_per_frame"], known["shortest"]) == ("16000", "20", "30")
    torch.manual_seed(1)
    for sizes in ([3000, 1234, 31], [777], [5000, 5000]):
        lengths = torch.tensor(sizes)
        waveforms = torch.randn(len(sizes), max(sizes))
        with torch.inference_mode():
            expected, frames = recognizer.module(waveforms, lengths)
        found, counts = session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
        assert counts.tolist() == frames.tolist()
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_onnx_packages_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("speechkit.interop.onnx_file.NEEDED", ("torch", "onnx-of-nowhere"))
    export = ["export", "--format", "onnx", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "a.onnx")]
    assert main(export) == 1
    assert "-m pip install onnx-of-nowhere\n" in capsys.readouterr().err
    assert main([*export[:-1], str(tmp_path / "a")]) == 2
    assert "ends in .onnx" in capsys.readouterr().err
