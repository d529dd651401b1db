"""WSJ's discs to manifests."""

import gzip
import logging
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from fake_corpora import fake_timit, tone
from fake_wsj import AUDIO, DOTS, fake_wsj, shortened

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.corpora import prepare_corpus, wsj
from speechkit.data.corpora.wsj_discs import Row, read_index
from speechkit.data.manifests import Split


def prepare(root: Path, **options: object) -> dict[str, Split]:
    return prepare_corpus("wsj", root, root.parent / "out", seed=0, nj=1, options=options)


def ids(content: Split) -> list[str]:
    return [item.id for item in content.supervisions]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("upper", [False, True])
def test_sets_come_from_the_index_files(tmp_path: Path, merged: bool, upper: bool) -> None:
    root = fake_wsj(tmp_path / "wsj0 und wsj1" / "LDC", merged=merged, upper=upper)
    splits = prepare(root.parent, **{"test-sets": ("eval92", "eval93")})
    assert ids(splits["train"]) == ["011c0201", "011c0202", "4a0c0201", "4a0c0202"]  # not 401
    assert ids(splits["dev"]) == ["4k0c0201", "4k0c0202"]
    assert ids(splits["test"]) == ["440c0201", "440c0202", "4oac0201", "4oac0202"]
    assert not any(content.problems for content in splits.values())
    genders = {item.speaker: item.gender for content in splits.values() for item in content.supervisions}
    assert genders == {"011": None, "4a0": "female", "4k0": "male", "440": None, "4oa": None}


def test_a_supervision_holds_what_was_said_words_and_graphemes(tmp_path: Path) -> None:
    splits = prepare(fake_wsj(tmp_path / "c"), **{"train-sets": ("si84",), "test-sets": ("eval93",)})
    first, second = splits["train"].supervisions
    assert (first.text, first.speaker, first.language, first.duration) == (
        "THE CAT COMMA SAT PERIOD", "011", "English", 0.25,
    )  # fmt: skip
    assert first.custom == {
        "words": "THE CAT ,COMMA SAT .PERIOD",
        "graphemes": "t h e | c a t | c o m 1 a | s a t | p e r i o d |",
        "set": "si84",
    }
    assert (second.text, second.custom["words"]) == ("A DOG RAN", "A <NOISE> DOG RAN")
    assert [item.text for item in splits["test"].supervisions] == ["HUB PERCENT ONE", "HUB POINT TWO"]


def test_verbalised_punctuation_can_be_left_out_of_training(tmp_path: Path) -> None:
    splits = prepare(fake_wsj(tmp_path / "c"), verbalised="drop")
    assert ids(splits["train"]) == ["011c0202", "4a0c0201"]
    assert [item.id for item in splits["train"].recordings] == ["011c0202", "4a0c0201"]
    with pytest.raises(UsageError, match="keep, drop, not 'maybe'"):
        prepare(tmp_path / "c", verbalised="maybe")


def test_sets_that_overlap_are_joined_once(tmp_path: Path) -> None:
    splits = prepare(fake_wsj(tmp_path / "c"), **{"train-sets": ("si84", "si284")})
    assert ids(splits["train"]) == ["011c0201", "011c0202", "4a0c0201", "4a0c0202"]


def test_every_utterance_listed_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_wsj(tmp_path / "c")
    (root / AUDIO["011"] / "011" / "011c0201.wv1").unlink()
    (root / AUDIO["4a0"] / "4a0" / "4a0c0201.wv1").write_bytes(b"")
    (root / DOTS["4k0"] / "4k0" / "4k0c0200.dot").write_text("7 up (4k0c0202)\nfine (4k0c0203)\n")
    (root / AUDIO["440"] / "440" / "440c0200.dot").write_text("[cough] (440c0201)\nfine (440c0202)\n")
    (root / AUDIO["4oa"] / "4oa" / "4oac0200.dot").unlink()
    index = root / "13-34.1/wsj1/doc/indices/h1_p0.ndx"
    index.write_text(index.read_text() + "13_16_1:wsj1/si_dt_20/4k0/4k0c0203.wv1\n")
    shutil.copy(root / AUDIO["4k0"] / "4k0/4k0c0202.wv1", root / AUDIO["4k0"] / "4k0/4k0c0203.wv1")
    with caplog.at_level(logging.WARNING):
        splits = prepare(root, **{"test-sets": ("eval92", "eval93")})
    found = {item.id: (item.split, item.reason) for content in splits.values() for item in content.problems}
    assert found == {
        "011c0201": ("train", "no audio file: only its transcript is there"),
        "4a0c0201": ("train", "empty file: 0 bytes"),
        "4k0c0201": ("dev", "no transcript: 4k0c0200.dot has no line for it"),
        "4k0c0202": ("dev", "bad transcript: '7 UP' has other characters than letters, apostrophes and periods"),
        "440c0201": ("test", "no transcript: its .dot line has no words"),
        "4oac0201": ("test", "no transcript: there is no 4oac0200.dot"),
        "4oac0202": ("test", "no transcript: there is no 4oac0200.dot"),
    }
    assert "the set si284 lacks 1 utterances: copy files of disc 11-1.1 of LDC93S6A" in caplog.text
    assert "the set si284 has 2 utterances instead of 37416" in caplog.text
    assert (
        "the set eval93 has 0 utterances instead of 213, 0 speakers instead of 10 in WSJ; 2 are unusable" in caplog.text
    )


def test_missing_discs_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_wsj(tmp_path / "c")
    shutil.rmtree(root / "13-33.1")
    with (
        pytest.raises(SpeechkitError, match="no usable utterance of eval93 for test"),
        caplog.at_level(logging.WARNING),
    ):
        prepare(root, **{"test-sets": ("eval93",)})
    assert "the set eval93 lacks 2 utterances: copy disc 13-33.1 of LDC94S13A" in caplog.text  # not 13-32.1
    shutil.rmtree(root / "13-34.1")
    with pytest.raises(SpeechkitError, match=r"si_tr_s.ndx is missing: copy disc 13-34.1 of LDC94S13A into"):
        prepare(root)
    assert len(prepare(root, **{"train-sets": ("si84",), "dev-sets": ("eval92",)})["train"].recordings) == 2


def test_wrong_use(tmp_path: Path) -> None:
    root = fake_wsj(tmp_path / "c")
    with pytest.raises(UsageError, match="WSJ has no set 'si248', did you mean 'si284'?"):
        prepare(root, **{"train-sets": ("si248",)})
    with pytest.raises(SpeechkitError, match="is not WSJ: .* it looks like TIMIT"):
        prepare(fake_timit(tmp_path / "t"))
    index = root / "13-34.1/wsj1/doc/indices/h1_p0.ndx"
    index.write_text("; a note\n\nwsj1/si_dt_20/4k0/4k0c0203.wv1\n")
    with pytest.raises(SpeechkitError, match=r"h1_p0.ndx:3 is no row `disc:file`"):
        prepare(root)


def test_index_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.ndx"
    path.write_text(
        ";; 13_1_1:no/row.wv1\r\n13_16_1:wsj1/A/4k0c0201.WV1\r\n11_13_1: wsj0/b/440c0201\n11_1_1:/wsj0/c.wv1\n"
    )
    assert read_index(path) == [
        Row("13-16.1", "wsj1/a/4k0c0201.wv1"),
        Row("11-13.1", "wsj0/b/440c0201.wv1"),
        Row("11-1.1", "wsj0/c.wv1"),
    ]


def compress(root: Path, names: tuple[str, ...], claimed: int | None = None) -> None:
    for path in root.rglob("*.wv1"):
        if path.stem in names:
            path.write_bytes(shortened(tone(4000, int(path.stem[-1]) - 1), claimed))


def use_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Make $PATH hold these Python programs only."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!{sys.executable}\nimport shutil, sys\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder))


def test_compressed_audio_needs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_wsj(tmp_path / "c")
    compress(root, ("4a0c0201",))
    use_programs(tmp_path / "bin", monkeypatch)
    with pytest.raises(SpeechkitError, match=r"4a0c0201.wv1 is compressed .*: install ffmpeg .* or sph2pipe") as caught:
        prepare(root)
    assert "\n" not in str(caught.value)


def test_compressed_audio_is_unpacked_by_the_program_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_wsj(tmp_path / "c")
    soundfile.write(tmp_path / "known.wav", tone(4000, 0), 16000, subtype="PCM_16")
    compress(root, ("011c0201", "4a0c0201"))
    compress(root, ("4a0c0202",), claimed=5000)
    script = f"assert sys.argv[1:4] == ['-p', '-f', 'wav']; shutil.copy({str(tmp_path / 'known.wav')!r}, sys.argv[5])"
    use_programs(tmp_path / "bin", monkeypatch, sph2pipe=script)
    train = prepare(root)["train"]
    assert ids(train) == ["011c0201", "011c0202", "4a0c0201"]
    assert [item.reason for item in train.problems] == ["truncated: the header says 5000 samples, the file holds 4000"]
    unpacked = Path(train.recordings[0].sources[0].source)
    assert unpacked == tmp_path / "out" / "audio" / "wsj0" / "si_tr_s" / "011" / "011c0201.flac"
    assert (soundfile.read(unpacked, dtype="int16")[0] == tone(4000, 0)).all()
    assert train.recordings[0].num_samples == 4000
    failing = "print('cannot read it', file=sys.stderr); sys.exit(1)"
    use_programs(tmp_path / "bin", monkeypatch, sph2pipe=failing)
    assert ids(prepare(root)["train"]) == ids(train), "what is unpacked is kept"
    shutil.rmtree(tmp_path / "out" / "audio")
    train = prepare(root)["train"]
    assert {item.reason for item in train.problems} == {"not audio: sph2pipe says cannot read it"}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
def test_ffmpeg_unpacks_shorten(tmp_path: Path) -> None:
    root = fake_wsj(tmp_path / "c")
    compress(root, ("4a0c0201", "4a0c0202"))
    train = prepare(root)["train"]
    for number, recording in enumerate(train.recordings[2:]):
        assert (soundfile.read(recording.sources[0].source, dtype="int16")[0] == tone(4000, number)).all()


def lzw(text: bytes) -> bytes:
    """A short text in the format of `compress`: 9-bit codes of single bytes, the lowest bit first."""
    assert len(text) < 250, "longer texts need longer codes"
    codes = sum(byte << 9 * index for index, byte in enumerate(text))
    return b"\x1f\x9d\x90" + codes.to_bytes(-(-9 * len(text) // 8), "little")


def test_language_model_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_wsj(tmp_path / "c")
    with caplog.at_level(logging.WARNING):
        prepare(root)
    assert "no language-model text without disc 13-32.1" in caplog.text
    folder = root / "13-32.1" / "wsj1" / "doc" / "lng_modl" / "lm_train" / "np_data"
    for year, pack, text in (
        ("87", lzw, b"<s 1>\nMr. Smith's co-op\n\n"),  # as on the discs
        ("88", gzip.compress, b"<art>\nIT ROSE TO TWENTY-FIVE\n"),  # as in the miniature
    ):
        (folder / year).mkdir(parents=True)
        (folder / year / "w_001.z").write_bytes(pack(text))
    prepare(root)
    with gzip.open(tmp_path / "out" / "lm_text.txt.gz", "rt") as stream:
        assert stream.read() == "MR. SMITH'S CO OP\nIT ROSE TO TWENTY FIVE\n"
    (folder / "88" / "w_001.z").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(SpeechkitError, match="w_001.z is damaged"):
        prepare(root)


def test_published_counts_cover_every_set_but_one() -> None:
    assert set(wsj.INDICES) - set(wsj.COUNTS) == {"eval93-5k"}


def test_a_miniature_is_prepared_and_compared_with_its_table_of_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tiny_miniature: Callable[[str], Path]
) -> None:
    root = shutil.copytree(tiny_miniature("wsj"), tmp_path / "mini")
    with caplog.at_level(logging.INFO):
        splits = prepare(root, **{"test-sets": ("eval92", "eval93")})
    assert "si284, dev93, eval92, eval93: as many utterances, speakers and hours as in the miniature" in caplog.text
    texts = {split: {item.text for item in content.supervisions} for split, content in splits.items()}
    speakers = {split: {item.speaker for item in content.supervisions} for split, content in splits.items()}
    for sets in (texts, speakers):
        assert not sets["train"] & (sets["dev"] | sets["test"])
        assert not sets["dev"] & sets["test"]
    with gzip.open(tmp_path / "out" / "lm_text.txt.gz", "rt") as stream:
        sentences = stream.read().splitlines()
    assert len(sentences) == 300
    assert not set(sentences) & (texts["dev"] | texts["test"])
    verbalised = [item for item in splits["train"].supervisions if ".PERIOD" in item.custom["words"]]
    assert {item.speaker for item in verbalised} == {"001"}
    assert set("".join(texts["dev"] | texts["test"])) <= set("".join(texts["train"]))
    (root / "LDC94S13A/13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0200.dot").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepare(root)
    assert "the set dev93 has 3 utterances instead of 6, 1 speakers instead of 2, 0.00" in caplog.text
