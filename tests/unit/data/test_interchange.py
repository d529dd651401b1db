"""Kaldi data directories, audio folders and Shar: what goes out comes back, and other tools read it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_corpora import riff, sphere, tone
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.kaldi import load_kaldi_data_dir

from speechkit.cli import main
from speechkit.data.interchange.kaldi import write_kaldi
from speechkit.data.manifests import make_recording, read_cuts, read_lines, read_manifests, write_cuts

Described = dict[str, tuple[str, str, str | None, str | None, bytes]]


def make_cuts(folder: Path, kinds: tuple[str, ...] = ("wav", "flac", "sph")) -> list[MonoCut]:
    """Six utterances of two speakers; files of each kind in turn."""
    cuts = []
    for number in range(6):
        speaker, kind = ("anna", "ben")[number % 2], kinds[number % len(kinds)]
        path = folder / f"ton é {number}.{kind}"
        samples = tone(8000 + 100 * number, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "wav":
            riff(path, samples)
        elif kind == "flac":
            soundfile.write(path, samples, 16000)
        else:
            path.write_bytes(sphere(samples))
        recording = make_recording(f"{speaker}-{number}", path)
        supervision = SupervisionSegment(
            recording.id, recording.id, 0, recording.duration, text=f"say, \"{number}\" don't 今", speaker=speaker,
            gender="female" if speaker == "anna" else "male", language="English",
        )  # fmt: skip
        cuts.append(MonoCut(recording.id, 0, recording.duration, 0, [supervision], recording=recording))
    return cuts


def part(cut: MonoCut, name: str, start: float, duration: float) -> MonoCut:
    cut = cut.truncate(offset=start, duration=duration)
    cut.id = cut.supervisions[0].id = name
    cut.supervisions[0].start, cut.supervisions[0].duration = 0, duration
    return cut


def write(folder: Path, **sets: list[MonoCut]) -> Path:
    for split, cuts in sets.items():
        write_cuts(folder / "valid" / f"cuts_{split}.jsonl.gz", cuts)
    return folder / "valid"


def samples_of(cut: MonoCut) -> bytes:
    recording = cut.recording
    start = round(cut.start * 16000)
    found, _ = soundfile.read(recording.sources[0].source, start=start, frames=cut.num_samples, dtype="int16")
    return bytes(found.tobytes())


def described(cuts: list[MonoCut]) -> Described:
    return {
        cut.id: (
            str(cut.supervisions[0].text), str(cut.supervisions[0].speaker), (cut.supervisions[0].gender or "")[:1],
            cut.supervisions[0].language, samples_of(cut),
        )
        for cut in cuts
    }  # fmt: skip


def back(kind: str, folder: Path, *options: str) -> dict[str, Described]:
    """What `import` and `validate` make of `folder`, by set."""
    out = folder.parent / "back"
    assert main(["import", "--format", kind, "--in", str(folder), "--out", str(out), "--nj", "1", *options]) == 0
    assert main(["validate", "--in", str(out), "--out", str(out / "valid"), "--max-bad-ratio", "0.5", "--nj", "1"]) == 0
    return {
        path.name.split("_")[1].split(".")[0]: described(list(read_cuts(path)))
        for path in (out / "valid").glob("cuts_*")
    }


@pytest.mark.parametrize("kind", ["kaldi", "audiofolder"])
@pytest.mark.parametrize("segments", [False, True])
def test_what_goes_out_comes_back(tmp_path: Path, kind: str, segments: bool) -> None:
    cuts = make_cuts(tmp_path / "corpus")
    if segments:
        cuts[0:1] = [part(cuts[0], "anna-0a", 0.0, 0.2), part(cuts[0], "anna-0b", 0.2, 0.2500625)]
    folder = write(tmp_path, train=cuts[:5], dev=cuts[5:])
    assert main(["export", "--format", kind, "--in", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert back(kind, tmp_path / "out") == {"train": described(cuts[:5]), "dev": described(cuts[5:])}


@pytest.mark.parametrize("segments", [False, True])
def test_lhotse_reads_the_data_directory_too(tmp_path: Path, segments: bool) -> None:
    cuts = make_cuts(tmp_path / "corpus", ("wav",))
    if segments:
        cuts[0] = part(cuts[0], "anna-0a", 0.1, 0.2)
    write_kaldi(cuts, tmp_path / "kaldi")
    recordings, supervisions, _ = load_kaldi_data_dir(tmp_path / "kaldi", 16000)
    assert recordings is not None
    assert supervisions is not None
    found = {
        item.id: (item.text, item.speaker, item.gender, round(item.start, 6), round(item.duration, 6))
        for item in supervisions
    }
    assert found == {
        cut.id: (
            cut.supervisions[0].text, cut.supervisions[0].speaker, cut.supervisions[0].gender[0], cut.start,
            round(cut.duration, 6),
        )
        for cut in cuts
    }  # fmt: skip
    for cut in cuts[1:]:
        assert np.array_equal(recordings[cut.recording.id].load_audio(), cut.load_audio())


def test_files_are_sorted_as_kaldi_wants_them(tmp_path: Path) -> None:
    cuts = make_cuts(tmp_path / "corpus")
    for cut, name, speaker in zip(
        cuts, ("b", "Z", "a", "ä", "s1_1", "s10_1"), ("x", "y", "x", "y", "s1", "s10"), strict=True
    ):
        cut.id, cut.supervisions[0].speaker = name, speaker
    write_kaldi(cuts, tmp_path / "kaldi")
    rows = [line.split() for line in (tmp_path / "kaldi" / "utt2spk").read_text().splitlines()]
    assert [row[0] for row in rows] == ["s1-s1_1", "s10-s10_1", "x-a", "x-b", "y-Z", "y-ä"]
    assert rows == sorted(rows, key=lambda row: (row[1].encode(), row[0].encode()))
    assert (tmp_path / "kaldi" / "spk2utt").read_text().splitlines()[2] == "x x-a x-b"


def test_pipes_run_only_on_request(tmp_path: Path) -> None:
    riff(tmp_path / "a.wav", tone(8000), rate=8000)
    folder = tmp_path / "kaldi"
    folder.mkdir()
    (folder / "wav.scp").write_text(f"a cat '{tmp_path}/a.wav' |\nb {tmp_path}/none.ark:17\nc false |\n")
    (folder / "text").write_text("a one\nb two\nc three\n")
    command = ["import", "--format", "kaldi", "--in", str(folder), "--out", str(tmp_path / "out"), "--nj", "1"]
    assert main(command) == 1
    assert not (tmp_path / "out").exists()
    assert main([*command, "--run-pipes"]) == 0
    content = read_manifests(tmp_path / "out", "train")
    assert [(item.id, item.num_samples) for item in content.recordings] == [("a", 16000)]
    assert {problem.id: problem.kind for problem in content.problems} == {"b": "archive", "c": "not audio"}


def test_what_is_wrong_in_a_data_directory_costs_itself_alone(tmp_path: Path) -> None:
    for name in "abcd":
        riff(tmp_path / f"{name}.wav", tone(8000))
    folder = tmp_path / "kaldi"
    folder.mkdir()
    entries = [f"{name} {tmp_path}/{name}.wav" for name in "abcd"]
    (folder / "wav.scp").write_bytes(
        ("\ufeff" + "\r\n".join([*entries, f"e {tmp_path}/e.wav", entries[0]]) + "\r\n").encode()
    )
    (folder / "segments").write_text(
        "a1 a 0.1 0.3\na2 a 0.3 -1\nb1 b 0.2\nb2 b 0.1 0.2\nc1 c 0.4 9\nf1 f 0 1\ne1 e 0 1\nd1 d 0.2 0.1\n"
    )
    (folder / "text").write_text("a1 one\na2 \t two  three \nb1 x\nc1 four\nd1 six\ng1 seven\nf1 x\ne1 y\n")
    out = tmp_path / "out"
    assert (
        main(["import", "--format", "kaldi", "--in", str(folder), "--out", str(out), "--split", "dev", "--nj", "1"])
        == 0
    )
    assert main(["validate", "--in", str(out), "--out", str(out / "valid"), "--max-bad-ratio", "1", "--nj", "1"]) == 0
    cuts = {cut.id: cut for cut in read_cuts(out / "valid" / "cuts_dev.jsonl.gz")}
    assert {name: (cut.start, cut.duration, cut.supervisions[0].text) for name, cut in cuts.items()} == {
        "a1": (0.1, 0.2, "one"), "a2": (0.3, 0.2, "two three"),
    }  # fmt: skip
    reasons = {row["id"]: row["reason"].split(":")[0] for row in read_lines(out / "valid" / "report.jsonl")}
    assert reasons == {
        "b1": "no times", "b2": "no transcript", "c1": "outside the audio", "d1": "outside the audio",
        "e": "unreadable", "f1": "no audio", "g1": "no audio",
    }  # fmt: skip


def test_an_audio_folder_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    riff(tmp_path / "set" / "data" / "a.wav", tone(8000))
    rows = [
        {"file_name": "data/a.wav", "sentence": "Stay as I am", "speaker_id": 7},
        {"file_name": "b.wav", "text": "x"},
    ]
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = back("audiofolder", tmp_path / "set", "--split", "test")["test"]
    assert found["data/a"][:2] == ("Stay as I am", "7")
    report = {row["id"]: row["reason"].split(":")[0] for row in read_lines(tmp_path / "back" / "report.jsonl")}
    assert report == {"b": "no audio"}


def test_datasets_reads_an_audio_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    pytest.importorskip("torchcodec", reason="datasets needs torchcodec for audio, which is not installed")
    cuts = make_cuts(tmp_path / "corpus")
    folder = write(tmp_path, train=cuts[:4], test=cuts[4:])
    assert main(["export", "--format", "audiofolder", "--in", str(folder), "--out", str(tmp_path / "out")]) == 0
    found = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 2}
    row = found["train"].cast_column("audio", datasets.Audio(decode=False))[1]
    assert (row["transcription"], row["speaker_id"]) == (cuts[1].supervisions[0].text, "ben")
    content = io.BytesIO(row["audio"]["bytes"] or Path(row["audio"]["path"]).read_bytes())
    assert soundfile.read(content, dtype="int16")[0].tobytes() == samples_of(cuts[1])


def test_shar_holds_the_audio_in_order(tmp_path: Path) -> None:
    cuts = make_cuts(tmp_path / "corpus")
    folder = write(tmp_path, train=cuts)
    export = ["export", "--format", "shar", "--in", str(folder), "--out", str(tmp_path / "shar"), "--shard-size", "4"]
    for _ in range(2):
        assert main(export) == 0
    assert [path.name for path in (tmp_path / "shar").iterdir()] == ["train"]
    names = sorted(path.name for path in (tmp_path / "shar" / "train").iterdir())
    assert names == ["cuts.000000.jsonl.gz", "cuts.000001.jsonl.gz", "recording.000000.tar", "recording.000001.tar"]
    found = list(CutSet.from_shar(in_dir=tmp_path / "shar" / "train"))
    assert [cut.id for cut in found] == [cut.id for cut in cuts]
    for cut, original in zip(found, cuts, strict=True):
        assert (cut.load_audio()[0] * 32768).astype(np.int16).tobytes() == samples_of(original)
        assert cut.supervisions[0].text == original.supervisions[0].text


def test_shar_holds_stored_features_too(tmp_path: Path) -> None:
    valid = write(tmp_path, train=make_cuts(tmp_path / "corpus", ("wav",)))
    assert main(["features", "--in", str(valid), "--out", str(tmp_path / "fbank"), "--nj", "1"]) == 0
    assert main(["export", "--format", "shar", "--in", str(tmp_path / "fbank"), "--out", str(tmp_path / "shar")]) == 0
    originals = list(read_cuts(tmp_path / "fbank" / "cuts_train.jsonl.gz"))
    found = list(CutSet.from_shar(in_dir=tmp_path / "shar" / "train"))
    assert len(found) == 6
    for cut, original in zip(found, originals, strict=True):
        np.testing.assert_allclose(cut.load_features(), original.load_features(), atol=0.016)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "import --format kaldi --in nowhere --out out",
            "wav.scp does not exist; give the folder of a Kaldi data directory",
        ),
        ("import --format audiofolder --in nowhere --out out", "holds no metadata.csv or metadata.jsonl"),
        ("export --format kaldi --in nowhere --out out", "does not exist"),
    ],
)
def test_wrong_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_parquet_files_of_the_hub(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    cuts = make_cuts(tmp_path / "corpus")
    for name, chosen in (
        ("train-00000-of-00002", cuts[:2]),
        ("train-00001-of-00002", cuts[2:4]),
        ("validation", cuts[4:]),
    ):
        audio = [
            {"bytes": Path(cut.recording.sources[0].source).read_bytes(), "path": f"clips/{cut.id}.wav"}
            for cut in chosen
        ]
        columns = {
            "audio": audio, "sentence": [cut.supervisions[0].text for cut in chosen], "age": [30] * len(chosen),
            "client_id": [cut.supervisions[0].speaker for cut in chosen], "locale": ["English"] * len(chosen),
            "gender": [cut.supervisions[0].gender for cut in chosen],
        }  # fmt: skip
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    assert back("parquet", tmp_path / "hub") == {"train": described(cuts[:4]), "dev": described(cuts[4:])}
    parquet.write_table(pa.table({"audio": audio, "words said": ["x", "x"]}), folder / "test-0.parquet")
    command = ["import", "--format", "parquet", "--in", str(tmp_path / "hub"), "--out", str(tmp_path / "out")]
    assert main([*command, "--nj", "1"]) == 1
