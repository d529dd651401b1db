"""Labels by the command: processes, batches, ensembles, and what does not go together. The checklist of HuBERT
(tests/unit/models) has what the labels are."""

import json
from pathlib import Path

import pytest
import torch
from sounds import read_sound, write_sounds

from speechkit.cli import main
from speechkit.cluster.kmeans import KMeansConfig
from speechkit.common.seeds import seed_everything
from speechkit.config.load import from_dict
from speechkit.data.labels import LabelFile
from speechkit.models.wav2vec2 import Wav2Vec2
from speechkit.tasks.clusters import ClusterConfig, make_labels
from speechkit.tasks.pretrain import PretrainConfig, save_pretrained
from speechkit.tasks.sources import Cepstra, Layer
from speechkit.train.checkpoint import load_tensors

MODEL = {
    "wav2vec2": {
        "encoder": {
            "extractor": {"dim": 16, "kernels": [10, 8, 8], "strides": [5, 8, 8]},
            "transformer": {
                "dim": 16, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
            },
        }
    }
}  # fmt: skip
WITH_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of five sounds, with their times."""
    return write_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers that was not trained."""
    config = from_dict(PretrainConfig, MODEL, "test")
    seed_everything(0)
    folder = tmp_path_factory.mktemp("model") / "final"
    save_pretrained(folder, config, Wav2Vec2(config.wav2vec2).state_dict())
    return folder


def cluster(data: Path, out: Path, *more: str) -> int:
    return main(["cluster", "--data", str(data), "--out", str(out), "--set", "kmeans.clusters=8", *more])


@pytest.mark.parametrize("layer", [False, True])
def test_processes_change_nothing(data: Path, model: Path, tmp_path: Path, layer: bool) -> None:
    more = ["--checkpoint", str(model), "--layer", "1"] if layer else []
    for count in ("1", "2"):
        assert cluster(data, tmp_path / count, "--nj", count, *more) == 0
    for name in ("train.bin", "train.jsonl", "dev.bin", "quality.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


class OnAnotherDevice(Cepstra):
    """Not on the CPU, as far as the work is divided."""

    device = torch.device("meta")


def test_processes_read_for_a_gpu(data: Path, tmp_path: Path) -> None:
    """Labels are the same if the process that writes them computes them all."""
    config, cpu = ClusterConfig(kmeans=KMeansConfig(clusters=8)), torch.device("cpu")
    for source, nj in ((Cepstra(), 1), (OnAnotherDevice(), 2)):
        make_labels(source, data, tmp_path / f"{nj}", config, 0, nj, ["train", "dev"], cpu)
    for name in ("train.bin", "train.jsonl", "dev.bin", "quality.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=WITH_GPU)])
def test_a_layer_of_a_batch_is_that_of_each_waveform(data: Path, model: Path, device: str) -> None:
    """As a GPU takes them; a waveform without a whole window has no frame."""
    waveforms = [torch.from_numpy(read_sound(data, name)) for name in ("dev0", "dev1", "dev2")]
    waveforms.insert(1, torch.zeros(100))
    alone = Layer(model, 2)(waveforms)
    source = Layer(model, 2, torch.device(device))
    source.together = True
    for one, other in zip(alone, source(waveforms), strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-3, atol=1e-4)
    assert alone[1].shape == (0, 16)
    assert (alone[0].shape[1], source.frame_rate) == (16, 50)


def test_joined_cepstra_of_hardly_any_frames() -> None:
    for samples, frames in ((100, 0), (400, 1), (560, 2)):
        (found,) = Cepstra(splice=5)([torch.randn(samples)])
        assert found.shape == (frames, 195)


def test_normalised_cepstra_do_not_know_the_channel() -> None:
    """A fixed filter adds a constant to each cepstrum: gone, but for the first and last frames' windows."""
    sound = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    filtered = torch.cat([sound[:1], sound[1:] - 0.5 * sound[:-1]])
    plain, normalised = Cepstra()([sound, filtered]), Cepstra(normalise=True)([sound, filtered])
    assert float((plain[0][:, 1] - plain[1][:, 1]).mean().abs()) > 5
    torch.testing.assert_close(normalised[0].mean(0), torch.zeros(39), rtol=0, atol=1e-3)
    torch.testing.assert_close(normalised[0].std(0, correction=0), torch.ones(39), rtol=1e-3, atol=0)
    assert float((normalised[0] - normalised[1]).abs().mean()) < 0.3


def test_a_share_of_the_utterances_and_groups_of_a_layer(data: Path, model: Path, tmp_path: Path) -> None:
    """All utterances are labelled by clusters of some; columns of a layer are cut as those of cepstra are."""
    layer = ["--checkpoint", str(model), "--layer", "1", "--nj", "1"]
    assert cluster(data, tmp_path / "out", *layer, "--set", "share=0.5", "--groups", "2") == 0
    assert cluster(data, tmp_path / "all", *layer, "--set", "groups=2") == 0
    labels, centres = [], []
    for folder in (tmp_path / "out/0", tmp_path / "all/0"):
        labels.append(LabelFile(folder, "train"))
        centres.append(load_tensors(folder / "kmeans/centres.safetensors")["centres"])
    assert list(labels[0]) == list(labels[1])
    assert centres[0].shape == (8, 8)
    assert not torch.equal(*centres)


def test_sets_without_phones_have_figures_of_the_clusters(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lhotse import CutSet

    bare = CutSet.from_file(data / "cuts_train.jsonl.gz").map(_without_phones)
    bare.to_file(tmp_path / "cuts_train.jsonl.gz")
    assert cluster(tmp_path, tmp_path / "out", "--sets", "train", "--nj", "1") == 0
    figures = json.loads((tmp_path / "out/quality.json").read_text())["train"]
    assert (figures["pnmi"], figures["clusters"]) == (None, 8)
    assert figures["frames"] == sum(map(len, LabelFile(tmp_path / "out", "train").values()))
    assert f"train: {figures['used']} of 8 clusters used, entropy" in capsys.readouterr().out


def _without_phones(cut: object) -> object:
    cut.supervisions[0].alignment = None  # type: ignore[attr-defined]
    return cut


def test_what_does_not_go_together(data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = ["--checkpoint", str(model), "--layer", "1"]
    for arguments, code, message in (
        (["--layer", "3"], 2, "--checkpoint and --layer go together"),
        (["--checkpoint", str(data), "--layer", "3"], 1, "is not a pre-trained model"),
        (["--checkpoint", str(model), "--layer", "3"], 1, "has layers 1 to 2, not 3; correct --layer"),
        ([*layer, "--splice", "3"], 2, "--splice and --normalise are for MFCC; leave them out"),
        ([*layer, "--normalise"], 2, "--splice and --normalise are for MFCC"),
        (["--splice", "2"], 2, "splice must be an odd number of frames, not 2"),
        (["--groups", "4", "--nj", "1"], 1, "frames of 39 values cannot be cut into 4 equal groups"),
    ):
        assert cluster(data, tmp_path / "x", *arguments) == code
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
