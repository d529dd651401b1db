"""Whole miniatures: layout, labels, disjoint sets, and the same bytes whatever the number of jobs."""

import errno
import hashlib
import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.corpora.timit import CORE_TEST_SPEAKERS, DEV_SPEAKERS
from speechkit.data.miniature import MARKER, aishell, digits, librispeech, make, render, timit, wsj
from speechkit.data.miniature.grammar import SHARED_SENTENCES, words
from speechkit.text.phones import PHONES_61


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "Räume und Töne"
    summary = make("timit", "tiny", out, seed=1, num_jobs=2)
    assert summary.utterances == 120
    return out


@pytest.fixture(scope="module")
def spoken_digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "digits"
    make("digits", "tiny", out, seed=1, num_jobs=1)
    return out


def _labels(path: Path) -> list[tuple[int, int, str]]:
    return [(int(start), int(end), text) for start, end, text in map(str.split, path.read_text().splitlines())]


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_sphere_files_are_read_with_the_right_samples(corpus):
    files = sorted(corpus.rglob("*.WAV"))
    assert len(files) == 120
    for path in files[::7]:
        content = path.read_bytes()
        assert content.startswith(b"NIST_1A\n   1024\n")
        samples, rate = soundfile.read(path, dtype="int16")
        assert rate == 16000
        np.testing.assert_array_equal(samples, np.frombuffer(content[1024:], "<i2"))
        fields = dict(line.split(" ", 1) for line in content[:1024].decode().split("\n") if " -" in line)
        assert fields["sample_count"] == f"-i {len(samples)}"
        assert fields["sample_max"] == f"-i {samples.max()}"
        assert fields["sample_byte_format"] == "-s2 01"


def test_labels_cover_the_audio_and_agree(corpus):
    for path in sorted(corpus.rglob("*.PHN")):
        num_samples = len(soundfile.read(path.with_suffix(".WAV"), dtype="int16")[0])
        spans, word_spans = _labels(path), _labels(path.with_suffix(".WRD"))
        assert [start for start, _, _ in spans] == [0, *(end for _, end, _ in spans[:-1])]
        assert spans[-1][1] == num_samples
        assert all(start < end for start, end, _ in spans)
        assert {phone for _, _, phone in spans} <= set(PHONES_61)
        assert spans[0][2] == spans[-1][2] == "h#"
        first, count, text = path.with_suffix(".TXT").read_text().split(maxsplit=2)
        assert (int(first), int(count)) == (0, num_samples)
        assert [word for _, _, word in word_spans] == words(text)
        edges = {start for start, _, _ in spans}
        assert all(start in edges and end in edges for start, end, _ in word_spans)
        between = [phone for start, end, phone in spans if not any(a <= start and end <= b for a, b, _ in word_spans)]
        assert set(between) <= {"h#", "pau"}


def test_recorded_silence_is_quieter_than_vowels(corpus):
    vowels, silences = [], []
    for path in sorted(corpus.rglob("SX*.PHN")):
        samples = soundfile.read(path.with_suffix(".WAV"))[0]
        level = {span: np.sqrt(np.mean(samples[span[0] : span[1]] ** 2)) for span in _labels(path)}
        vowels.append(np.median([value for span, value in level.items() if span[2][0] in "aeiou" and span[2] != "epi"]))
        silences.append(level[_labels(path)[0]])
    assert np.median(np.array(vowels) / np.array(silences)) > 5
    assert np.all(np.array(vowels) > 1.5 * np.array(silences))


def test_speakers_and_sentences_of_train_and_test_are_disjoint(corpus):
    speakers = {side: {path.name.lower() for path in (corpus / side).glob("DR?/*")} for side in ("TRAIN", "TEST")}
    assert len(speakers["TRAIN"]) == 8
    assert not speakers["TRAIN"] & (DEV_SPEAKERS | CORE_TEST_SPEAKERS)
    assert len(speakers["TEST"] & DEV_SPEAKERS) == 2
    assert len(speakers["TEST"] & CORE_TEST_SPEAKERS) == 2
    texts: dict[str, set[str]] = {}
    for part, members in (("train", speakers["TRAIN"]), ("dev", DEV_SPEAKERS), ("test", CORE_TEST_SPEAKERS)):
        files = [path for path in corpus.rglob("S[IX]*.TXT") if path.parent.name.lower() in members]
        texts[part] = {path.read_text().split(maxsplit=2)[2] for path in files}
    assert not texts["train"] & texts["dev"]
    assert not texts["train"] & texts["test"]
    assert not texts["dev"] & texts["test"]
    assert {path.read_text().split(maxsplit=2)[2].strip() for path in corpus.rglob("SA?.TXT")} == set(SHARED_SENTENCES)


def test_own_lists_are_those_of_the_corpus():
    assert set(timit.DEV) == DEV_SPEAKERS
    assert set(timit.CORE_TEST) == CORE_TEST_SPEAKERS


@pytest.mark.parametrize(("size", "counts"), [("mini", (96, 16)), ("small", (462, 74))])
def test_plan_of_a_larger_size(size, counts):
    plan = timit.plan(size, seed=0)
    by_speaker: dict[Path, list[str]] = {}
    for utterance in plan.utterances:
        by_speaker.setdefault(utterance.path.parent, []).append(utterance.path.name)
    assert (sum(p.parts[0] == "TRAIN" for p in by_speaker), sum(p.parts[0] == "TEST" for p in by_speaker)) == counts
    assert {path.parts[1] for path in by_speaker} == {f"DR{number}" for number in range(1, 9)}
    for names in by_speaker.values():
        assert len(set(names)) == 10
        assert [sum(name.startswith(kind) for name in names) for kind in ("SA", "SX", "SI")] == [2, 5, 3]
    text_of = {utterance.path.name: utterance.text for utterance in plan.utterances}
    assert all(text_of[utterance.path.name] == utterance.text for utterance in plan.utterances)
    assert max(int(name[2:]) for name in text_of if name.startswith("SX")) <= 450
    held_out = {u.speaker.voice.name for u in plan.utterances if u.path.parts[0] == "TEST"}
    assert not held_out & {u.speaker.voice.name for u in plan.utterances if u.path.parts[0] == "TRAIN"}


def test_same_bytes_for_any_number_of_jobs_and_others_for_another_seed(corpus, tmp_path):
    make("timit", "tiny", tmp_path / "one", seed=1, num_jobs=1)
    assert _hashes(tmp_path / "one") == _hashes(corpus)
    plan = timit.plan("tiny", seed=2)
    utterance = plan.utterances[-1]
    other = render.render(plan, utterance, 2)
    assert utterance.text not in {path.read_text() for path in corpus.rglob("SI*.TXT")}
    again = render.render(plan, utterance, 3)
    assert other.samples.shape != again.samples.shape or not np.array_equal(other.samples, again.samples)


@pytest.mark.parametrize("name", ["aishell", "wsj", "librispeech"])
def test_other_corpora_are_reproducible_and_have_a_table_of_contents(name, tmp_path):
    summary = make(name, "tiny", tmp_path / "two", seed=3, num_jobs=2)
    make(name, "tiny", tmp_path / "one", seed=3, num_jobs=1)
    assert _hashes(tmp_path / "one") == _hashes(tmp_path / "two")
    assert 60 < 3600 * summary.hours < 180
    marker = json.loads((tmp_path / "one" / MARKER).read_text())
    assert marker["utterances"] == summary.utterances
    suffixes = {"aishell": ".wav", "wsj": ".wv1", "librispeech": ".flac"}
    files = [path for path in (tmp_path / "one").rglob(f"*{suffixes[name]}") if "finetuning" not in str(path)]
    assert len(files) == summary.utterances
    seconds = sum(soundfile.info(path).duration for path in files)
    assert seconds / 3600 == pytest.approx(marker["hours"], abs=1e-4)
    whole = {"aishell": ("train", "dev", "test"), "wsj": ("si284", "dev93", "eval92", "eval93")}
    parts = whole.get(name, [part for part in marker["parts"] if part.startswith(("train", "dev", "test"))])
    left_out = 2 if name == "wsj" else 0  # utterances of speaker 401
    assert sum(marker["parts"][part]["utterances"] for part in parts) == summary.utterances - left_out


@pytest.mark.parametrize("module", [aishell, wsj, librispeech])
@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_no_two_utterances_of_a_plan_are_alike(module, size):
    plan = module.plan(size, seed=0)
    places = [path for utterance in plan.utterances for path in (utterance.path, *utterance.copies)]
    assert len(set(places)) == len(places)
    assert len({utterance.text for utterance in plan.utterances}) == len(plan.utterances)
    voices: dict[bool, set[str]] = {True: set(), False: set()}
    for utterance in plan.utterances:
        held_out = any(part.startswith(("dev", "test", "eval")) for part in utterance.parts)
        voices[held_out].add(utterance.speaker.voice.name)
    assert not voices[True] & voices[False]


def test_digits_have_the_names_and_format_of_fsdd(spoken_digits):
    files = sorted(path.name for path in spoken_digits.glob("*.wav"))
    names = ("anna", "boris")
    assert files == sorted(f"{digit}_{name}_{take}.wav" for digit in range(10) for name in names for take in range(12))
    for name in files[::11]:
        with wave.open(str(spoken_digits / name)) as stream:
            assert stream.getparams()[:3] == (1, 2, 8000)
            assert 0.15 < stream.getnframes() / 8000 < 1.2
    takes = {(spoken_digits / f"7_anna_{take}.wav").read_bytes() for take in range(12)}
    assert len(takes) == 12


def test_digits_are_trimmed():
    plan = digits.plan("tiny", 0)
    for utterance in plan.utterances[::17]:
        recording = render.render(plan, utterance, 0)
        assert recording.phones[0].start == 0
        assert recording.phones[0].text != "h#"
        assert recording.phones[-1].text != "h#"
        assert abs(recording.phones[-1].end - len(recording.samples)) <= 2


def test_voices_are_many_short_recordings_of_many_accents():
    plan = digits.plan("voices", 0)
    speakers = {utterance.speaker.name: utterance.speaker for utterance in plan.utterances}
    assert len(plan.utterances) == 30 * len(speakers) == 10500
    languages = {speaker.voice.name.partition("+")[0] for speaker in speakers.values()}
    assert {"en-us", "en-029", "de", "el", "fr"} <= languages
    for utterance in plan.utterances[::701]:
        samples = render.render(plan, utterance, 0).samples
        assert 0.1 < len(samples) / 8000 < 1.5
        edge = np.abs(samples[: len(samples) // 10].astype(float)).max()
        assert edge > 0.02 * np.abs(samples.astype(float)).max(), "silence was not cut off"


def test_a_microphone_colours_the_spectrum():
    plan = digits.plan("voices", 0)
    utterance = plan.utterances[0]
    even = replace(utterance, speaker=replace(utterance.speaker, microphone_db=()))
    tilted = replace(utterance, speaker=replace(utterance.speaker, microphone_db=(12.0,)))
    ratios = []
    for each in (even, tilted):
        power = np.abs(np.fft.rfft(render.render(plan, each, 0).samples)) ** 2
        ratios.append(10 * np.log10(power[: len(power) // 4].sum() / power[-len(power) // 4 :].sum()))
    assert 12 < ratios[1] - ratios[0] < 26


def test_what_is_there_is_kept(corpus, spoken_digits, tmp_path):
    before = _hashes(spoken_digits)
    summary = make("digits", "tiny", spoken_digits, seed=1)
    assert summary.seconds == 0
    assert summary.utterances == 240
    assert _hashes(spoken_digits) == before
    with pytest.raises(SpeechkitError, match="holds another miniature .digits tiny, seed 1"):
        make("digits", "tiny", spoken_digits, seed=2)
    assert json.loads((corpus / MARKER).read_text())["corpus"] == "timit"


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(SpeechkitError, match="is not empty and holds no miniature"):
        make("digits", "tiny", tmp_path)
    with pytest.raises(SpeechkitError, match="is a file"):
        make("digits", "tiny", tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_run_leaves_nothing_and_the_next_one_starts_anew(tmp_path, monkeypatch):
    out = tmp_path / "digits"
    out.mkdir()
    abandoned = tmp_path / ".digits.part"
    abandoned.mkdir()
    (abandoned / "0_anna_0.wav").write_bytes(b"half")

    def full(recording, utterance, folder):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(digits, "write", full)
        with pytest.raises(SpeechkitError, match="no space left"):
            make("digits", "tiny", out)
    assert not abandoned.exists()
    assert not any(out.iterdir())
    make("digits", "tiny", out)
    assert len(list(out.glob("*.wav"))) == 240
    assert not abandoned.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timid", "tiny"), "no miniature of corpus 'timid', did you mean 'timit'"),
        (("timit", "huge"), "no miniature of size 'huge'"),
        (("timit", "tiny", -1), "seed"),
        (("timit", "tiny", 0, 0), "jobs"),
    ],
)
def test_wrong_usage(tmp_path, arguments, message):
    corpus_name, size, *rest = arguments
    with pytest.raises(UsageError, match=message):
        make(corpus_name, size, tmp_path / "out", *rest)
    assert not (tmp_path / "out").exists()
