"""Every configuration in egs is read, and its model can be built."""

from pathlib import Path

import pytest

from speechkit.config.load import load_config
from speechkit.data.extraction import FeaturesConfig
from speechkit.models.acoustic import AcousticModel
from speechkit.report.results import read_papers
from speechkit.tasks.recognizer import CtcConfig

EGS = Path(__file__).parents[2] / "egs"


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/fbank*.yaml")), ids=lambda path: f"{path.parts[-3]}")
def test_training(path: Path) -> None:
    config = load_config(CtcConfig, path)
    features = load_config(FeaturesConfig, path.with_name("features.yaml"))
    assert config.model.in_dim == features.num_features
    model = AcousticModel(config.model, num_tokens=50)
    assert sum(parameter.numel() for parameter in model.parameters()) < 3e6  # fits a laptop


def test_published_figures_of_timit() -> None:
    figures = {(paper.system, paper.set): paper.figure for paper in read_papers(EGS / "timit" / "conf" / "papers.yaml")}
    assert figures["Kaldi mono", "test"] == 32.7  # the floor that the protocol names
    assert all(15 < figure < 35 for figure in figures.values())
