"""Features of every cut, once, whatever happens on the way."""

import json
import multiprocessing
import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_corpora import fake_timit, sphere, tone
from lhotse import CutSet, RecordingSet
from scipy.signal import resample_poly

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError
from speechkit.data import extraction, parts
from speechkit.data import shards as shards_of
from speechkit.data.adoption import adopt_manifest
from speechkit.data.corpora import prepare_corpus
from speechkit.data.extraction import Extractor, FeaturesConfig, extract
from speechkit.data.manifests import read_cuts, read_lines, write_lines, write_manifests
from speechkit.data.validation import validate
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig

ROUNDING = 2.0**-6 + 1e-4
WITH_PITCH = FeaturesConfig(pitch=PitchConfig())


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FEWEST_CUTS", 5)


def valid_cuts(folder: Path) -> Path:
    root = fake_timit(folder / "corpus ä")
    for split, content in prepare_corpus("timit", root, folder / "manifests", 0, 1, {}).items():
        write_manifests(folder / "manifests", split, content)
    validate(folder / "manifests", folder / "valid", 16000, 0.0, 1)
    return folder / "valid"


def contents(folder: Path) -> dict[str, bytes]:
    """Everything that an extraction leaves, without the folder's own name."""
    name = str(folder).encode()
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in (".lca", ".safetensors"))
    result = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    for split in ("train", "dev", "test"):
        rows = "".join(json.dumps(row) for row in read_lines(folder / f"cuts_{split}.jsonl.gz"))
        result[split] = rows.encode().replace(name, b"")
    return result


def test_cuts_carry_features_and_everything_else(tmp_path: Path) -> None:
    extract(valid_cuts(tmp_path), tmp_path / "fbank", FeaturesConfig(), seed=0, nj=2)
    cuts = {cut.id: cut for cut in read_cuts(tmp_path / "fbank" / "cuts_train.jsonl.gz")}
    before = {cut.id: cut for cut in read_cuts(tmp_path / "valid" / "cuts_train.jsonl.gz")}
    assert list(cuts) == list(before)
    assert len(cuts) == 12
    fbank = Fbank(FbankConfig())
    for name, cut in cuts.items():
        assert cut.recording == before[name].recording
        assert cut.supervisions == before[name].supervisions
        expected = fbank.extract(torch.from_numpy(cut.load_audio()[0])).numpy()
        found = cut.load_features()
        assert found.shape == (cut.features.num_frames, cut.features.num_features) == expected.shape == (48, 80)
        assert np.abs(found - expected).max() < ROUNDING


def test_pitch_is_pasted_behind_the_filter_bank(tmp_path: Path) -> None:
    cuts = valid_cuts(tmp_path)
    extract(cuts, tmp_path / "both", WITH_PITCH, seed=0, nj=2)
    found = {cut.id: cut for cut in read_cuts(tmp_path / "both" / "cuts_train.jsonl.gz")}
    without_noise = Pitch(PitchConfig(delta_pitch_noise_stddev=0))
    noise = []
    for cut in found.values():
        waveform = torch.from_numpy(cut.load_audio()[0])
        features, pitch = cut.load_features(), without_noise.extract(waveform).numpy()
        assert features.shape == (48, 83)
        assert np.abs(features[:, :80] - Fbank(FbankConfig()).extract(waveform).numpy()).max() < ROUNDING
        assert np.abs(features[:, 80:82] - pitch[:, :2]).max() < ROUNDING
        noise.append(features[:, 82] - pitch[:, 2])
    assert 0.04 < np.std(noise) < 0.06  # 0.005 times the scale of 10
    assert not any(np.array_equal(noise[0], other) for other in noise[1:])  # each cut has its own
    assert len(Cmvn.load(tmp_path / "both" / "cmvn.safetensors").stats().mean) == 83
    extract(cuts, tmp_path / "again", WITH_PITCH, seed=0, nj=1)
    assert contents(tmp_path / "both") == contents(tmp_path / "again")


def test_checklist_7_the_longer_part_is_trimmed_within_two_frames() -> None:
    waveform = torch.from_numpy(tone(16000)).float() / 32768
    longer = Extractor(FeaturesConfig(pitch=PitchConfig(snip_edges=False, delta_pitch_noise_stddev=0)))
    features = longer(waveform)
    assert features.shape == (98, 83)
    pitch = Pitch(PitchConfig(snip_edges=False, delta_pitch_noise_stddev=0)).extract(waveform)
    assert len(pitch) == 100
    assert torch.equal(features[:, 80:], pitch[:98])
    assert longer(waveform[:300]).shape == (0, 83)
    with pytest.raises(SpeechkitError, match=r"98 frames where pitch has 103.*pitch\.delay 0"):
        Extractor(FeaturesConfig(pitch=PitchConfig(delay=5)))(waveform)


@pytest.mark.parametrize("settings", [{"sample_frequency": 8000}, {"frame_shift": 8}])
def test_parts_that_do_not_fit_together_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"pitch\.(sample_frequency|frame_shift) must be fbank"):
        FeaturesConfig(pitch=PitchConfig(**settings))


def test_any_lhotse_manifest_is_taken(tmp_path: Path) -> None:
    cuts = valid_cuts(tmp_path)
    extract(cuts, tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    expected = {cut.recording.id: cut.load_features() for cut in read_cuts(tmp_path / "fbank" / "cuts_train.jsonl.gz")}
    whole = CutSet.from_file(cuts / "cuts_train.jsonl.gz")
    whole.to_file(tmp_path / "some cuts.jsonl")
    RecordingSet.from_recordings(cut.recording for cut in whole).to_file(tmp_path / "recordings.jsonl.gz")
    for name in ("some cuts.jsonl", "recordings.jsonl.gz"):
        out = tmp_path / "out" / name
        assert main(["features", "--in", str(tmp_path / name), "--out", str(out), "--nj", "1"]) == 0
        found = list(read_cuts(out / "cuts_all.jsonl.gz"))
        assert len(found) == 12
        assert all(np.array_equal(cut.load_features(), expected[cut.recording.id]) for cut in found)
        table = Cmvn.load(out / "cmvn.safetensors")
        assert table.stats().count == 12 * 48
        assert len(table.speakers) == (3 if "cuts" in name else 12)  # nobody is named in recordings
    mixed = whole[0].mix(whole[1])
    CutSet.from_cuts([mixed]).to_file(tmp_path / "mixed.jsonl.gz")
    with pytest.raises(SpeechkitError, match=r"mixed\.jsonl\.gz line 1.*save_audios"):
        adopt_manifest(tmp_path / "mixed.jsonl.gz", tmp_path / "nowhere")


def test_statistics_are_those_of_the_speakers_and_of_the_training_set(tmp_path: Path) -> None:
    extract(valid_cuts(tmp_path), tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    table = Cmvn.load(tmp_path / "fbank" / "cmvn.safetensors")
    fbank = Fbank(FbankConfig())
    whole = {}
    for split in ("train", "dev", "test"):
        for cut in read_cuts(tmp_path / "valid" / f"cuts_{split}.jsonl.gz"):
            whole.setdefault(cut.supervisions[0].speaker, []).append(
                fbank.extract(torch.from_numpy(cut.load_audio()[0]))
            )
    assert set(table.speakers) == set(whole) == {"fcjf0", "mdpk0", "mtjs0", "faks0", "mdab0"}
    for speaker, features in whole.items():
        assert torch.allclose(table.stats(speaker).mean, CmvnStats.of(torch.cat(features)).mean)
    train = torch.cat([torch.cat(whole[speaker]) for speaker in ("fcjf0", "mdpk0", "mtjs0")])
    assert table.stats().count == len(train)
    assert torch.allclose(table.stats().std, CmvnStats.of(train).std)


def test_results_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    cuts, config = valid_cuts(tmp_path), FeaturesConfig(fbank=FbankConfig(dither=1.0), speeds=(1.0, 0.9))
    extract(cuts, tmp_path / "one", config, seed=0, nj=1)
    extract(cuts, tmp_path / "two", config, seed=0, nj=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    extract(cuts, tmp_path / "three", config, seed=1, nj=1)
    assert contents(tmp_path / "one") != contents(tmp_path / "three")


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_copies_of_the_training_set(tmp_path: Path, speed: float) -> None:
    cuts = valid_cuts(tmp_path)
    extract(cuts, tmp_path / "fbank", FeaturesConfig(speeds=(1.0, speed)), seed=0, nj=1)
    found = {cut.id: cut for cut in read_cuts(tmp_path / "fbank" / "cuts_train.jsonl.gz")}
    assert len(found) == 24
    assert len(list(read_cuts(tmp_path / "fbank" / "cuts_dev.jsonl.gz"))) == 4
    copy, plain = found[f"sp{speed}-fcjf0-sx37"], found["fcjf0-sx37"]
    supervision = copy.supervisions[0]
    assert (supervision.speaker, supervision.id, supervision.text) == (f"sp{speed}-fcjf0", copy.id, "she")
    assert supervision.custom == plain.supervisions[0].custom
    assert abs(copy.duration - 0.5 / speed) < 1e-4
    for item, original in zip(supervision.alignment["phone"], plain.supervisions[0].alignment["phone"], strict=True):
        assert abs(item.start - original.start / speed) < 1e-3
        assert abs(item.duration - original.duration / speed) < 1e-3
    ratio = Fraction(str(speed))
    samples = resample_poly(soundfile.read(plain.recording.sources[0].source)[0], ratio.denominator, ratio.numerator)
    expected = Fbank(FbankConfig()).extract(torch.from_numpy(samples[: copy.num_samples])).numpy()
    assert np.abs(copy.load_features() - expected).max() < ROUNDING + 2e-3
    assert f"sp{speed}-fcjf0" in Cmvn.load(tmp_path / "fbank" / "cmvn.safetensors").speakers


def test_utterances_shorter_than_a_window_are_reported(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "corpus")
    (root / "TRAIN/DR1/FCJF0/SX37.WAV").write_bytes(sphere(tone(300)))
    (root / "TRAIN/DR1/FCJF0/SX37.PHN").write_text("0 300 sh\n")
    (root / "TRAIN/DR1/FCJF0/SX37.WRD").write_text("0 300 she\n")
    for split, content in prepare_corpus("timit", root, tmp_path / "manifests", 0, 1, {}).items():
        write_manifests(tmp_path / "manifests", split, content)
    validate(tmp_path / "manifests", tmp_path / "valid", 16000, 0.0, 1)
    left_out = extract(tmp_path / "valid", tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    assert [problem.id for problem in left_out["train"]] == ["fcjf0-sx37"]
    (row,) = read_lines(tmp_path / "fbank" / "report.jsonl")
    assert row["id"] == "fcjf0-sx37"
    assert row["reason"].startswith("too short: 0.019 s")
    assert "fcjf0-sx37" not in {cut.id for cut in read_cuts(tmp_path / "fbank" / "cuts_train.jsonl.gz")}
    again = extract(tmp_path / "valid", tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    assert again == left_out


def killed_extraction(cuts: Path, out: Path, config: FeaturesConfig, shards: int) -> None:
    """Extract in this process and die, as by kill -9, in the middle of the shard after `shards` whole ones."""
    whole, real = 0, extraction.run_shard

    def counting(shard: shards_of.Shard) -> shards_of.ShardResult:
        nonlocal whole
        if whole == shards:
            shards_of.CmvnStats = Fatal  # type: ignore[misc, assignment]
        whole += 1
        return real(shard)

    class Fatal:
        @staticmethod
        def of(features: torch.Tensor) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    extraction.run_shard = counting
    extract(cuts, out, config, seed=0, nj=1)


@pytest.mark.parametrize("config", [FeaturesConfig(), WITH_PITCH], ids=["fbank", "fbank and pitch"])
def test_a_killed_extraction_goes_on_where_it_was(tmp_path: Path, config: FeaturesConfig) -> None:
    cuts, out = valid_cuts(tmp_path), tmp_path / "fbank"
    process = multiprocessing.get_context("fork").Process(target=killed_extraction, args=(cuts, out, config, 2))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    storage = out / "storage" / "train"
    assert sorted(path.name for path in storage.glob("[0-9]*.lca")) == ["0000.lca", "0001.lca"]
    assert not list(out.glob("cuts_*"))
    before = {path: path.stat().st_mtime_ns for path in storage.glob("[0-9]*")}
    extract(cuts, out, config, seed=0, nj=1)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    extract(cuts, tmp_path / "at once", config, seed=0, nj=1)
    assert contents(out) == contents(tmp_path / "at once")


def test_only_what_changed_is_computed_again(tmp_path: Path) -> None:
    cuts, out = valid_cuts(tmp_path), tmp_path / "fbank"

    def times() -> dict[str, int]:
        return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*.lca")}

    extract(cuts, out, FeaturesConfig(), seed=0, nj=1)
    first = times()
    extract(cuts, out, FeaturesConfig(speeds=(1.0, 1.1)), seed=0, nj=1)
    assert {name: time for name, time in times().items() if "sp1.1" not in name} == first
    assert "storage/train/sp1.1-0000.lca" in times()
    rows = list(read_lines(cuts / "cuts_dev.jsonl.gz"))
    write_lines(cuts / "cuts_dev.jsonl.gz", rows[1:])
    extract(cuts, out, FeaturesConfig(), seed=0, nj=1)
    assert {name for name, time in times().items() if first.get(name) != time} == {"storage/dev/0000.lca"}
    extract(cuts, out, FeaturesConfig(fbank=FbankConfig(num_bins=40)), seed=0, nj=1)
    assert next(iter(read_cuts(out / "cuts_train.jsonl.gz"))).load_features().shape == (48, 40)


def test_damage_between_stages_is_named(tmp_path: Path) -> None:
    cuts = valid_cuts(tmp_path)
    with pytest.raises(SpeechkitError, match="speechkit validate"):
        extract(tmp_path / "nowhere", tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    with pytest.raises(SpeechkitError, match="16000 Hz but the features are configured for 8000 Hz"):
        extract(
            cuts, tmp_path / "fbank", FeaturesConfig(fbank=FbankConfig(sampling_rate=8000, num_bins=40)), seed=0, nj=2
        )
    rows = list(read_lines(cuts / "cuts_dev.jsonl.gz"))
    write_lines(cuts / "cuts_dev.jsonl.gz", [*rows, rows[0]])
    with pytest.raises(SpeechkitError, match="stands twice"):
        extract(cuts, tmp_path / "fbank", FeaturesConfig(), seed=0, nj=1)
    path = next((tmp_path / "corpus ä").rglob("SX37.WAV"))
    path.write_bytes(sphere(tone(6000)))
    with pytest.raises(SpeechkitError, match=r"SX37\.WAV has changed"):
        extract(cuts, tmp_path / "other", FeaturesConfig(), seed=0, nj=1)


@pytest.mark.parametrize("speeds", [(), (1.0, 1.0), (0.1,)])
def test_impossible_speeds_are_refused(speeds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="speeds"):
        FeaturesConfig(speeds=speeds)
