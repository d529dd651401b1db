"""Every configuration in egs is read, and its model can be built; those of the papers have the papers' sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from speechkit.config.load import load_config
from speechkit.data.extraction import FeaturesConfig
from speechkit.models.acoustic import AcousticModel
from speechkit.models.cif import Cif
from speechkit.models.hubert import Hubert
from speechkit.report.results import read_papers
from speechkit.tasks.cif import CifTrainingConfig
from speechkit.tasks.code_bert import CodeBertConfig
from speechkit.tasks.pool import PoolConfig
from speechkit.tasks.pretrain import SYSTEMS, PretrainConfig
from speechkit.tasks.recognizer import CtcConfig
from speechkit.tasks.wav2vec_u import Wav2VecUConfig

EGS = Path(__file__).parents[2] / "egs"
PAPER = EGS / "librispeech" / "conf" / "paper"
PRETRAINING = sorted(EGS.glob("*/conf/**/*_pretrain.yaml"))
# Millions of parameters as the papers give them (wav2vec 2.0, section 4.2; HuBERT, table I; vq-wav2vec, section 5.2,
# for both quantisers) or, of wav2vec and CPC, as their layers have them.
MILLIONS = {
    "wav2vec2_base": 95, "wav2vec2_large": 317, "wav2vec2_large_lv60k": 317,
    "hubert_base": 95, "hubert_large": 317, "hubert_xlarge": 964, "cpc": 7,
    "wav2vec_base": 15.5, "wav2vec_large": 32.5, "vq-wav2vec_gumbel": 34, "vq-wav2vec_kmeans": 33.1,
}  # fmt: skip


def name(path: Path) -> str:
    return f"{path.relative_to(EGS).parts[0]}-{path.stem}"


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/fbank*.yaml")), ids=name)
def test_training(path: Path) -> None:
    config = load_config(CtcConfig, path)
    features = load_config(FeaturesConfig, path.with_name("features.yaml"))
    assert config.model.in_dim == features.num_features
    model = AcousticModel(config.model, num_tokens=50)
    assert sum(parameter.numel() for parameter in model.parameters()) < 3e6  # fits a laptop


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/cif.yaml")), ids=name)
def test_prediction_of_boundaries(path: Path) -> None:
    config = load_config(CifTrainingConfig, path)
    assert config.model.in_dim == load_config(FeaturesConfig, path.with_name("features.yaml")).num_features
    model = Cif(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) < 1e6


@pytest.mark.parametrize(
    "path", sorted([*EGS.glob("*/conf/ctc-segments.yaml"), *EGS.glob("*/conf/lfmmi.yaml")]), ids=name
)
def test_ctc_that_tells_times_learns_them(path: Path) -> None:
    config, base = load_config(CtcConfig, path), load_config(CtcConfig, path.with_name("fbank.yaml"))
    assert (config.loss, config.lfmmi.numerator, config.model) == ("lfmmi", "alignment", base.model)
    assert config.lfmmi.ctc_scale > 0


@pytest.mark.parametrize("path", sorted([*EGS.glob("*/conf/wav2vec2.yaml"), *EGS.glob("*/conf/hubert.yaml")]), ids=name)
def test_fine_tuning_has_a_pretraining(path: Path) -> None:
    load_config(CtcConfig, path)
    pretraining = load_config(PretrainConfig, path.with_name(f"{path.stem}_pretrain.yaml"))
    assert pretraining.method == path.stem
    assert sum(parameter.numel() for parameter in model_of(pretraining).parameters()) < 5e6


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/*wav2vec.yaml")), ids=name)
def test_training_on_features_of_a_pretrained_model(path: Path) -> None:
    config = load_config(CtcConfig, path)
    pretraining = load_config(PretrainConfig, path.with_name(f"{path.stem}_pretrain.yaml"))
    assert sum(parameter.numel() for parameter in model_of(pretraining).parameters()) < 5e6
    quantised = pretraining.wav2vec.encoder.quantiser != "none"
    assert quantised == (path.stem == "vq-wav2vec")
    if quantised:
        assert config.model.in_dim == load_config(CodeBertConfig, path.with_name("code-bert.yaml")).model.dim
        config = load_config(CtcConfig, path.with_name("vq-wav2vec_context.yaml"))
    assert config.model.in_dim == pretraining.wav2vec.encoder.extractor.dim


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/cpc.yaml")), ids=name)
def test_acoustic_models_read_the_contexts_of_a_pretraining(path: Path) -> None:
    config = load_config(CtcConfig, path)
    pretraining = load_config(PretrainConfig, path.with_name(f"{path.stem}_pretrain.yaml"))
    assert pretraining.method == path.stem
    assert config.model.in_dim == pretraining.cpc.encoder.context_dim
    assert sum(parameter.numel() for parameter in model_of(pretraining).parameters()) < 5e6


@pytest.mark.parametrize("path", sorted(set(PAPER.glob("[wh]*.yaml")) - set(PRETRAINING)), ids=name)
def test_fine_tuning_of_the_papers(path: Path) -> None:
    config = load_config(CtcConfig, path)
    assert config.finetune.head_updates == 10_000
    assert config.train.schedule.decay == "exponential"
    assert config.finetune.channel_mask.length == 64


def model_of(config: PretrainConfig) -> nn.Module:
    system = SYSTEMS[config.method]
    model: nn.Module = system(config.system, [504]) if system.wants_labels else system(config.system)
    return model


@pytest.mark.parametrize("path", [path for path in PRETRAINING if path.parent == PAPER], ids=name)
def test_pretraining_of_the_papers_has_their_size_and_takes_a_step(path: Path) -> None:
    config = load_config(PretrainConfig, path)
    torch.manual_seed(0)
    model = model_of(config)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions) == pytest.approx(MILLIONS[path.stem.removesuffix("_pretrain")], abs=1)
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 7000])

    def loss() -> Tensor:
        torch.manual_seed(1)
        labels = torch.arange(24).repeat(2, 1)
        result = model(waveforms, lengths, [labels]) if isinstance(model, Hubert) else model(waveforms, lengths)
        return result.total / result.count

    before = loss()
    before.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        squares = sum(float(each.grad.pow(2).sum()) for each in model.parameters() if each.grad is not None)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.02 / squares**0.5 * parameter.grad
        assert loss() < before


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EGS.glob("*/conf/**/wav2vec-u.yaml")) if path.parent.name != "sweeps"],
    ids=lambda path: str(path.parent.relative_to(EGS)),
)
def test_unpaired_training(path: Path) -> None:
    config = load_config(Wav2VecUConfig, path)
    gan, own, other = config.gan, config.train, config.discriminator
    assert (own.precision, own.clip_norm, own.average_best, own.weight_decay) == ("fp32", 5.0, 1, 0.0)
    for each in (own, other):
        assert (each.betas, each.eps, each.schedule.warmup) == ((0.5, 0.98), 1e-6, 0.0)
    if path.parent.name == "paper":
        assert (own.schedule.hold, other.schedule.hold) == (1.0, 1.0)
        assert (own.schedule.peak, other.schedule.peak, other.weight_decay) == (4e-4, 5e-4, 1e-4)
        assert (gan.penalty_weight, gan.smoothness_weight, gan.diversity_weight) == (1.5, 0.5, 4.0)
        assert (config.batch_size, own.max_updates, own.validate_every) == (160, 150_000, 1000)
        assert (gan.generator.in_dim, gan.generator.kernel, gan.discriminator.dim, gan.discriminator.kernel) == (
            512, 4, 384, 6,
        )  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted(EGS.glob("*/conf/**/pool.yaml")), ids=lambda path: str(path.parent.relative_to(EGS))
)
def test_pooling(path: Path) -> None:
    config = load_config(PoolConfig, path)
    assert config.pca == load_config(Wav2VecUConfig, path.with_name("wav2vec-u.yaml")).gan.generator.in_dim
    if path.parent.name == "paper":
        assert (config.pca, config.clusters, config.boundaries, config.pairs) == (512, 128, "clusters", True)


def test_published_figures_of_timit() -> None:
    figures = {(paper.system, paper.set): paper.figure for paper in read_papers(EGS / "timit" / "conf" / "papers.yaml")}
    assert figures["Kaldi mono", "test"] == 32.7  # the floor that the protocol names
    assert all(7 < figure < 35 for figure in figures.values())
