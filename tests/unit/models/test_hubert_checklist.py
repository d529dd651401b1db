"""The checklist of HuBERT, line by line: `test_5_NN_...` is line NN. Parity with torchaudio is in test_hubert.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from counted_cuts import HOP, RATE, make_cut, make_labels
from small_models import small_encoder, spans
from sounds import read_sound, write_sounds
from torch import Tensor
from torch.nn import functional as F

from speechkit.cli import main
from speechkit.cluster.kmeans import KMeansConfig, assign, fit
from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.config.load import from_dict, load_config
from speechkit.data.labels import LabelFile
from speechkit.data.waveforms import WaveformDataset
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.losses.contrastive import masked_prediction_logits
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.nn.lengths import NO_LABEL
from speechkit.tasks.clusters import ClusterConfig
from speechkit.tasks.pretrain import PretrainConfig, load_encoder, save_pretrained
from speechkit.tasks.sources import Cepstra
from speechkit.train.checkpoint import load_tensors

WHOLE = torch.tensor([2000, 2000])
PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper"
ENCODER = {
    "extractor": {"dim": 16, "kernels": [10, 8, 8], "strides": [5, 8, 8]},
    "transformer": {
        "dim": 16, "layers": 3, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
        "layer_drop": 0.5,
    },
    "time_mask": {"probability": 0.1, "length": 3},
}  # fmt: skip
PRETRAINING = {
    "method": "hubert", "hubert": {"encoder": ENCODER, "final_dim": 8}, "shortest": 0.1, "longest": 0.4,
    "batches": {"max_duration": 4.0, "workers": 0, "buckets": 1},
    "train": {"max_updates": 3, "validate_every": 3, "average_best": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of five sounds, with their times."""
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def cluster(data: Path, out: Path, *more: str) -> int:
    """Eight clusters by the command."""
    return main(["cluster", "--data", str(data), "--out", str(out), "--set", "kmeans.clusters=8", "--nj", "1", *more])


def pretrain(data: Path, out: Path, *labels: Path) -> int:
    """Three updates by the command."""
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(PRETRAINING))
    return main([
        "pretrain", "--config", str(config), "--data", str(data), "--out", str(out), "--labels", *map(str, labels),
    ])  # fmt: skip


def small(*classes: int, **changes: float) -> Hubert:
    return Hubert(HubertConfig(encoder=small_encoder(), **changes), classes).eval()  # type: ignore[arg-type]


def test_5_01_fitted_on_train_and_assigned_to_all(data: Path, tmp_path: Path) -> None:
    """Clusters come of the training list alone, all sets are labelled by them; rate, k and origin are kept beside."""
    assert cluster(data, tmp_path / "one") == 0
    centres = load_tensors(tmp_path / "one/kmeans/centres.safetensors")["centres"]
    for name in ("train4", "dev1"):
        labels = LabelFile(tmp_path / "one", name[:-1])
        assert (labels.frame_rate, labels.origin["features"], labels.origin["clusters"]) == (100, "mfcc", 8)
        assert labels.origin["config"]
        frames = Mfcc(MfccConfig()).extract(torch.from_numpy(read_sound(data, name)))
        assert labels[name].tolist() == assign(frames, centres)[0].tolist()
    # What dev holds changes nothing.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/cuts_train.jsonl.gz").write_bytes((data / "cuts_train.jsonl.gz").read_bytes())
    assert cluster(tmp_path / "other", tmp_path / "two", "--sets", "train") == 0
    for name in ("train.bin", "train.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(("rate", "step"), [(50, 1), (100, 2), (25, 0.5)])
def test_5_02_labels_by_floor_index_at_every_crop_offset(tmp_path: Path, rate: float, step: float) -> None:
    """Frame t has label floor(t label rate / frame rate), counted from where the crop begins (line 11 as well: crops
    are as long as the shortest utterance, and begin with a frame)."""
    cut, short = make_cut(tmp_path, "long", 1003, start=0.25), make_cut(tmp_path, "short", 205)
    labels = make_labels(tmp_path, rate, long=int(1.003 * rate), short=int(0.205 * rate))
    firsts = set()
    for seed in range(60):
        batch = WaveformDataset([labels], 4000, HOP, RATE, seed)[[cut, short]]
        assert batch.waveforms.shape == (2, 205)
        assert batch.lengths.tolist() == [205, 205]
        samples = (batch.waveforms[0] * 32768).round().int()
        assert torch.equal(samples, samples[0] + torch.arange(205))
        first, beyond = divmod(int(samples[0]) - 250, HOP)
        assert beyond == 0
        expected = torch.tensor([int((first + t) * step) for t in range(11)])
        missing = expected >= len(labels["long"])
        assert torch.equal(batch.labels[0][0], expected.masked_fill(missing, NO_LABEL))
        firsts.add(first)
    assert min(firsts) == 0
    assert max(firsts) == (1003 - 205) // HOP


def test_5_02_labels_of_another_length_are_an_error(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, "a", 1000)
    for count in (60, 40):
        with pytest.raises(SpeechkitError, match=f"cut a has {count} labels at 50 a second, but lasts 1.00 s"):
            WaveformDataset([make_labels(tmp_path, 50, a=count)], 4000, HOP, RATE, 0)[[cut]]
    for count in (48, 49, 50, 51):
        WaveformDataset([make_labels(tmp_path, 50, a=count)], 4000, HOP, RATE, 0)[[cut]]
    with pytest.raises(SpeechkitError, match="no labels for cut a"):
        WaveformDataset([make_labels(tmp_path, 50, b=50)], 4000, HOP, RATE, 0)[[cut]]


def test_5_03_masked_frames_and_the_optional_rest(data: Path, tmp_path: Path) -> None:
    """alpha = 1: masked frames alone give gradients; else both; accuracies of each set are reported for both."""
    torch.manual_seed(0)
    assert (HubertConfig().masked_weight, HubertConfig().unmasked_weight) == (1.0, 0.0)
    model, waveforms, mask = small(5, penalty_weight=0.0), torch.randn(2, 2000), spans([10], [40])
    labels = torch.randint(5, (2, 99))
    other = torch.where(mask, labels, (labels + 1) % 5)  # differs where nothing is masked
    losses = [model(waveforms, WHOLE, [each], mask) for each in (labels, other)]
    assert torch.equal(losses[0].total, losses[1].total)
    assert losses[0].count == 20
    assert not torch.equal(losses[0].unmasked_loss, losses[1].unmasked_loss)
    both = small(5, penalty_weight=0.0, masked_weight=0.5, unmasked_weight=0.5)
    both.load_state_dict(model.state_dict())
    loss = both(waveforms, WHOLE, [labels], mask)
    torch.testing.assert_close(loss.total, 0.5 * (loss.masked_loss + loss.unmasked_loss).sum())
    assert (loss.count, loss.masked.tolist(), loss.unmasked.tolist()) == (198, [20], [178])
    # Accuracies by hand, from the logits of all frames.
    frames, lengths, _ = model.encoder.extract(waveforms, WHOLE)
    best = model.heads[0](model.encoder.encode(frames, lengths, mask)).argmax(-1)
    assert loss.masked_right.tolist() == [int((best == labels)[mask].sum())]
    assert loss.unmasked_right.tolist() == [int((best == labels)[~mask].sum())]
    assert cluster(data, tmp_path / "labels") == 0
    assert pretrain(data, tmp_path / "model", tmp_path / "labels", tmp_path / "labels") == 0
    rows = [json.loads(line) for line in (tmp_path / "model/log.jsonl").read_text().splitlines()]
    names = {f"{kind}_accuracy_{number}" for kind in ("masked", "unmasked") for number in (0, 1)}
    assert {row["kind"] for row in rows if names <= row.keys()} == {"train", "dev"}


def test_5_04_cosine_logits_and_a_projection_for_each_set() -> None:
    """Cosines over tau = 0.1 with learned class vectors; each set has its own of both."""
    frames, classes = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.5], [-3.0, -4.0]])
    torch.testing.assert_close(masked_prediction_logits(frames, classes, 0.1), torch.tensor([[6.0, 8.0, -10.0]]))
    assert HubertConfig().tau == 0.1
    torch.manual_seed(1)
    model = small(5, 9)
    x = torch.randn(7, 48)
    for head, count in zip(model.heads, (5, 9), strict=True):
        expected = F.cosine_similarity(head.projection(x)[:, None], head.classes[None], dim=2) / 0.1
        torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-4)
        assert head(x).shape == (7, count)
    first, second = (head.projection.weight for head in model.heads)
    assert not torch.equal(first, second)


def test_5_05_extractor_of_base_and_large() -> None:
    """Base: gradients of the extractor times 0.1, penalty 10. Large: norm of every layer, normalised waveforms."""
    for size, scale, norm in (("base", 0.1, "first"), ("large", 1.0, "layer"), ("xlarge", 1.0, "layer")):
        config = load_config(PretrainConfig, PAPER / f"hubert_{size}_pretrain.yaml").hubert
        extractor = config.encoder.extractor
        assert (extractor.gradient_scale, extractor.norm, extractor.normalise) == (scale, norm, size != "base")
        assert config.penalty_weight == 10.0
    torch.manual_seed(2)
    waveforms, labels, mask = torch.randn(2, 2000), [torch.randint(5, (2, 99))], spans([10], [40])
    gradients = {}
    for scale in (0.1, 1.0):
        model = Hubert(HubertConfig(encoder=small_encoder(gradient_scale=scale)), [5]).eval()
        model.load_state_dict(gradients[0.1][0].state_dict() if gradients else model.state_dict())
        loss = model(waveforms, WHOLE, labels, mask)
        loss.total.backward()
        gradients[scale] = model, loss
        squares = model.encoder.extractor(waveforms, WHOLE)[0].pow(2).mean()
        torch.testing.assert_close(loss.total, loss.masked_loss.sum() + 20 * 10 * squares)
    for name, parameter in gradients[1.0][0].named_parameters():
        factor = 0.1 if "extractor" in name else 1.0
        torch.testing.assert_close(
            gradients[0.1][0].get_parameter(name).grad, factor * parameter.grad, rtol=1e-4, atol=1e-4
        )
    layers = {"norm": "layer", "normalise": True, "bias": True, "gradient_scale": 1.0, "dim": 32}
    transformer = {"dim": 48, "layers": 1, "heads": 4, "feed_forward": 96, "norm_first": True}
    large = from_dict(HubertConfig, {"encoder": {"extractor": layers, "transformer": transformer}}, "test")
    model = Hubert(large, [5]).eval()
    labels, lengths = [torch.randint(5, (2, 6))], torch.tensor([2000, 1500])
    mask = torch.ones(2, 6, dtype=torch.bool)
    one, louder = (model(each, lengths, labels, mask) for each in (waveforms, 30 * waveforms + 2))
    torch.testing.assert_close(one.total, louder.total, rtol=1e-3, atol=1e-3)


def test_5_06_layers_count_from_1_without_dropout_and_masks(data: Path, tmp_path: Path) -> None:
    """Layer 2 is the output of the second block; its labels carry model, layer and rate."""
    config = from_dict(PretrainConfig, PRETRAINING, "test")
    seed_everything(0)
    save_pretrained(tmp_path / "model", config, Hubert(config.hubert, [8]).state_dict())
    layer = ["--checkpoint", str(tmp_path / "model"), "--layer", "2"]
    assert cluster(data, tmp_path / "labels", *layer) == 0
    labels = LabelFile(tmp_path / "labels", "dev")
    assert (labels.frame_rate, labels.origin["layer"], len(str(labels.origin["model"]))) == (50, 2, 64)
    encoder, seen = load_encoder(tmp_path / "model"), []
    encoder.transformer.blocks[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    waveform = torch.from_numpy(read_sound(data, "dev0"))[None]
    for _ in range(2):
        encoder(waveform, torch.tensor([waveform.shape[1]]))
    assert torch.equal(seen[0], seen[1])
    centres = load_tensors(tmp_path / "labels/kmeans/centres.safetensors")["centres"]
    assert labels["dev0"].tolist() == assign(seen[0], centres)[0].tolist()


def test_5_07_cepstra_and_kmeans(data: Path) -> None:
    """13 cepstra without energy and both derivatives as torchaudio's Kaldi features; k-means no worse than
    scikit-learn's mini-batches with the paper's settings; a tenth of the utterances if asked for."""
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the reference", exc_type=ImportError)
    waveform = torch.from_numpy(read_sound(data, "train0"))
    static = torchaudio.compliance.kaldi.mfcc(32768 * waveform[None], use_energy=False, dither=0.0).T
    first = torchaudio.functional.compute_deltas(static)
    second = torchaudio.functional.compute_deltas(first)
    (found,) = Cepstra()([waveform])
    inside = slice(4, -4)  # torchaudio repeats the edges of the first derivative, Kaldi those of the cepstra
    torch.testing.assert_close(found[inside], torch.cat([static, first, second]).T[inside], rtol=1e-3, atol=2e-2)
    sklearn = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the reference")
    names = [f"train{number}" for number in range(12)]
    points = torch.cat(Cepstra()([torch.from_numpy(read_sound(data, name)) for name in names]))
    theirs = sklearn.MiniBatchKMeans(
        20, batch_size=10_000, max_iter=100, tol=0.0, max_no_improvement=100, n_init=20, reassignment_ratio=0.0,
        random_state=0,
    ).fit(points.numpy())  # fmt: skip
    centres = fit(points, KMeansConfig(clusters=20), torch.Generator().manual_seed(0))
    reference = assign(points, torch.from_numpy(theirs.cluster_centers_).float())[1].mean()
    assert float(assign(points, centres)[1].mean()) < 1.01 * float(reference)
    with pytest.raises(ValueError, match="share"):
        ClusterConfig(share=0.0)


def test_5_08_each_iteration_is_a_fresh_run(data: Path, tmp_path: Path) -> None:
    """Labels of cepstra, a model, labels of its layer, the next model: which needs nothing but the labels."""
    assert cluster(data, tmp_path / "labels1") == 0
    assert pretrain(data, tmp_path / "model1", tmp_path / "labels1") == 0
    layer = ["--checkpoint", str(tmp_path / "model1/final"), "--layer", "2"]
    assert cluster(data, tmp_path / "labels2", *layer) == 0
    first = load_tensors(tmp_path / "model1/final/model.safetensors")
    shutil.rmtree(tmp_path / "model1")
    assert pretrain(data, tmp_path / "model2", tmp_path / "labels2") == 0
    second = load_tensors(tmp_path / "model2/final/model.safetensors")
    assert not torch.equal(first["heads.0.classes"], second["heads.0.classes"])
    for name, kind in (("labels1", "mfcc"), ("labels2", "model")):
        assert LabelFile(tmp_path / name, "train").origin["features"] == kind


def test_5_09_sets_of_clusters_share_mask_and_encoder() -> None:
    """One pass of the encoder and one mask serve all sets, whose losses add up."""
    torch.manual_seed(3)
    model = small(5, 9)
    calls: list[Tensor] = []
    model.encoder.transformer.register_forward_hook(lambda _module, _inputs, output: calls.append(output))
    waveforms, lengths, mask = torch.randn(2, 2000), torch.tensor([2000, 1700]), spans([0, 30], [5, 50])
    first, second = torch.randint(5, (2, 99)), torch.randint(9, (2, 99))
    both = model(waveforms, lengths, [first, second], mask)
    assert len(calls) == 1
    assert both.masked.tolist() == [40.0, 40.0]
    assert both.count == 40
    torch.testing.assert_close(both.total, both.masked_loss.sum() + 400 * both.penalty)
    for number, (head, labels) in enumerate(zip(model.heads, (first, second), strict=True)):
        expected = F.cross_entropy(head(calls[0][mask]), labels[mask], reduction="sum")
        torch.testing.assert_close(both.masked_loss[number], expected)


def test_5_09_product_quantisation_clusters_each_part(data: Path, tmp_path: Path) -> None:
    """Three frames joined are 117 values: static, first and second derivatives, each clustered to labels of its own,
    which train a model together, and with labels of another rate."""
    assert cluster(data, tmp_path / "pq", "--splice", "3", "--groups", "3") == 0
    frames = Mfcc(MfccConfig()).extract(torch.from_numpy(read_sound(data, "dev2"))).numpy()
    padded = np.pad(frames, ((1, 1), (0, 0)), mode="edge")
    for group in range(3):
        folder, columns = tmp_path / f"pq/{group}", slice(13 * group, 13 * group + 13)
        joined = np.concatenate([padded[:-2, columns], padded[1:-1, columns], padded[2:, columns]], axis=1)
        centres = load_tensors(folder / "kmeans/centres.safetensors")["centres"]
        assert centres.shape == (8, 39)
        nearest = ((joined[:, None] - centres.numpy()) ** 2).sum(2).argmin(1)
        labels = LabelFile(folder, "dev")
        assert (labels["dev2"] == nearest).mean() > 0.99
        assert (labels.origin["group"], labels.origin["groups"], labels.origin["splice"]) == (group, 3, 3)
    folders = [tmp_path / f"pq/{group}" for group in range(3)]
    figures = [json.loads((folder / "quality.json").read_text())["dev"]["pnmi"] for folder in folders]
    assert figures[0] > 0.8  # what sounds are is in the static values
    assert figures[0] > max(figures[1:])
    assert pretrain(data, tmp_path / "model", *folders) == 0
    layer = ["--checkpoint", str(tmp_path / "model/final"), "--layer", "1"]
    assert cluster(data, tmp_path / "layer", *layer, "--set", "kmeans.clusters=5") == 0
    assert pretrain(data, tmp_path / "next", tmp_path / "layer", folders[0]) == 0
    weights = load_tensors(tmp_path / "next/final/model.safetensors")
    assert [len(weights[f"heads.{number}.classes"]) for number in range(2)] == [5, 8]


@pytest.mark.parametrize("layer", [None, "2"])
def test_5_10_figures_are_of_phones_at_the_frame_rate_of_the_labels(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layer: str | None
) -> None:
    """Purities and mutual information as scikit-learn has it, of the phone at the middle of every frame."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference")
    more: list[str] = []
    if layer:
        config = from_dict(PretrainConfig, PRETRAINING, "test")
        save_pretrained(tmp_path / "model", config, Hubert(config.hubert, [8]).state_dict())
        more = ["--checkpoint", str(tmp_path / "model"), "--layer", layer]
    assert cluster(data, tmp_path / "out", *more) == 0
    labels = LabelFile(tmp_path / "out", "dev")
    assert labels.frame_rate == (50 if layer else 100)
    from lhotse import CutSet

    truth: list[str] = []
    found: list[int] = []
    window = 325 / 16000 if layer else 0.025
    for cut in CutSet.from_file(data / "cuts_dev.jsonl.gz"):
        for frame, label in enumerate(labels[cut.id]):
            middle = frame / labels.frame_rate + window / 2
            inside = [item.symbol for item in cut.supervisions[0].alignment["phone"] if item.start <= middle < item.end]
            truth += inside
            found += [int(label)] * len(inside)
    figures = json.loads((tmp_path / "out/quality.json").read_text())["dev"]
    assert figures["phone_frames"] == len(truth)
    shares = np.unique(truth, return_counts=True)[1] / len(truth)
    entropy = -(shares * np.log(shares)).sum()
    assert figures["pnmi"] == pytest.approx(metrics.mutual_info_score(truth, found) / entropy)
    counts = metrics.cluster.contingency_matrix(truth, found)
    assert figures["phone_purity"] == pytest.approx(counts.max(0).sum() / len(truth))
    assert figures["cluster_purity"] == pytest.approx(counts.max(1).sum() / len(truth))
    assert f"dev: PNMI {figures['pnmi']:.3f}, phone purity" in capsys.readouterr().out


def test_5_11_labels_beyond_the_frames_are_passed_over() -> None:
    """And frames without a label, or of padding, are no targets. (Crops are in line 2.)"""
    torch.manual_seed(4)
    model = small(5, masked_weight=0.5, unmasked_weight=0.5)
    waveforms, labels, mask = torch.randn(1, 2000), torch.randint(5, (1, 120)), spans([20])
    samples = torch.tensor([2000])
    whole, cut = (model(waveforms, samples, [each], mask) for each in (labels, labels[:, :99]))
    torch.testing.assert_close(whole.total, cut.total)
    assert (whole.masked.item(), whole.unmasked.item(), whole.count) == (10, 89, 99)
    labels[0, 25:] = NO_LABEL
    fewer = model(waveforms, samples, [labels], mask)
    assert (fewer.masked.item(), fewer.unmasked.item()) == (5, 20)
    padded = model(F.pad(waveforms, (0, 500), value=3.0), samples, [labels], mask)
    torch.testing.assert_close(padded.masked_loss, fewer.masked_loss, rtol=1e-4, atol=1e-4)
