"""wav2vec-U as its commands run it: what it learns, what it never reads, resume, collapse, and what decodes it."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from lhotse.utils import fastcopy
from unpaired_phones import PHONES, SILENCE, make_data

from speechkit.cli import main
from speechkit.common.seeds import seed_everything
from speechkit.config.load import load_config
from speechkit.data.batches import load_cuts
from speechkit.data.packed import PackedSequences
from speechkit.tasks.wav2vec_u import Wav2VecUConfig, Wav2VecUTask, prepare
from speechkit.text.lang import Lang
from speechkit.train.checkpoint import load_tensors
from speechkit.train.distributed import World
from speechkit.train.log import Totals
from speechkit.train.trainer import Trainer

CONFIG = """
gan:
  generator: {in_dim: 32, kernel: 1}
  discriminator: {dim: 48}
  penalty_weight: 0.5
  smoothness_weight: 0.5
  diversity_weight: 4.0
batch_size: 32
discriminator: {betas: [0.5, 0.98], eps: 1.0e-6, weight_decay: 1.0e-4, schedule: {peak: 5.0e-3, warmup: 0, hold: 1}}
watch: {start: 700}
train:
  max_updates: 1200
  validate_every: 100
  save_every: 100
  log_every: 50
  average_best: 1
  clip_norm: 5.0
  betas: [0.5, 0.98]
  eps: 1.0e-6
  weight_decay: 0.0
  precision: fp32
  schedule: {peak: 1.0e-2, warmup: 0, hold: 1}
"""
SHORT = ("--set", "train.max_updates=12", "--set", "train.validate_every=4", "--set", "train.save_every=3")
# Few updates say little: `start` is behind their end.
QUIET = ("--set", "watch.start=100000")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpaired")
    make_data(folder)
    (folder / "gan.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(autouse=True)
def inside(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)


def gan(out: str, *more: str, pooled: str = "pooled", seed: int = 0) -> list[str]:
    return ["gan", "--config", "gan.yaml", "--data", pooled, "--text", "text", "--lm", "lm.arpa", "--out", out,
            "--seed", str(seed), *more]  # fmt: skip


def selection(out: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(out, "selection.json").read_text())
    return found


def test_perfect_features_give_the_phones_from_unpaired_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Less than 5 % of phones wrong, chosen without a transcript; the transcripts of dev only measure it."""
    assert main(gan("learned", "--report-errors")) == 0
    found = selection("learned")
    assert found["state"] == "trained"
    assert found["usage"] == 1.0
    assert isinstance(found["error_rate"], float)
    assert found["error_rate"] < 5
    assert "not used" in capsys.readouterr().out
    decode = ["decode", "--checkpoint", "learned/final", "--cuts", "pooled/cuts_dev.jsonl.gz"]
    assert main([*decode, "--method", "greedy", "--out", "decoded"]) == 0
    hypotheses, references = (
        [line.split() for line in Path("decoded", name).read_text().splitlines()] for name in ("hyp.txt", "ref.txt")
    )
    assert {phone for line in hypotheses for phone in line[1:]} == set(PHONES)
    right = sum(a == b for a, b in zip(hypotheses, references, strict=True))
    assert right > len(references) / 3


def test_a_training_without_the_diversity_loss_is_reported_as_collapsed_and_passed_over() -> None:
    assert main(gan("few", "--set", "gan.diversity_weight=0", "--set", "train.max_updates=1500")) == 0
    found = selection("few")
    assert str(found["state"]).startswith("collapsed: mode collapse: in 5 validations in a row")
    assert "raise gan.diversity_weight" in str(found["state"])
    assert events("few")[-1]["update"] < 1500  # type: ignore[operator]
    assert load_tensors(Path("few/final/model.safetensors"))  # it decodes all the same
    assert main(["gan-select", "--runs", "few", "--out", "none"]) == 1


def test_no_transcript_is_read_and_a_killed_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights and figures from cuts without supervisions, by a training that is killed twice on its way."""
    assert main(gan("whole", *SHORT, *QUIET)) == 0
    for split in ("train", "dev"):
        cuts = Path("pooled", f"cuts_{split}.jsonl.gz")
        rows = [json.loads(line) for line in gzip.decompress(cuts.read_bytes()).decode().splitlines()]
        silent = [json.dumps({**row, "supervisions": []}) + "\n" for row in rows]
        (tmp_path / cuts.name).write_bytes(gzip.compress("".join(silent).encode()))
    loss = Wav2VecUTask.loss

    def killed_at(update: int) -> None:
        def dying(self: Wav2VecUTask, *given: object) -> object:
            if self.update() == update:
                raise KeyboardInterrupt
            return loss(self, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(Wav2VecUTask, "loss", dying)
        assert main(gan("killed", *SHORT, *QUIET, pooled=str(tmp_path))) == (130 if update < 12 else 0)

    for update in (5, 10, 12):
        killed_at(update)
    whole, killed = (load_tensors(Path(name, "final", "model.safetensors")) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert selection("whole") == selection("killed")
    assert events("whole") == events("killed")


def events(out: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in Path(out, "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds_per_update"} for line in lines]


def task(folder: Path, *changes: str) -> Wav2VecUTask:
    config = load_config(Wav2VecUConfig, Path("gan.yaml"), [*changes])
    prepare(config, Path("pooled"), Path("text"), folder)
    seed_everything(0, "weights")
    return Wav2VecUTask(config, folder, Path("text"), Path("lm.arpa"), 0, World())


def test_updates_alternate_and_each_part_has_its_own_adam(tmp_path: Path) -> None:
    """Discriminator in updates of odd number; neither weights nor moments of the other change."""
    method = task(tmp_path / "packed", "train.max_updates=5", "discriminator.schedule.peak=0.02")
    trainer = Trainer(method.config.train, method, method.batches, tmp_path, 0, World())
    stream, totals = trainer._stream(), Totals()
    for update in range(5):
        before = {name: each.detach().clone() for name, each in method.module.named_parameters()}
        trainer._update(method.module, stream, totals)
        learning = "discriminator" if update % 2 else "generator"
        for name, each in method.module.named_parameters():
            if name == "discriminator.convs.2.bias":
                continue
            assert torch.equal(before[name], each) != name.startswith(learning), (update, name)
    steps = {id(each): int(trainer.optimizer.state[each]["step"]) for each in trainer.optimizer.state}
    assert {steps[id(each)] for each in method.model.generator.parameters()} == {3}
    assert {steps[id(each)] for each in method.model.discriminator.parameters()} == {2}
    settings = {group["name"]: (group["lr"], group["eps"], group["betas"]) for group in trainer.optimizer.param_groups}
    assert settings == {"generator": (1e-2, 1e-6, (0.5, 0.98)), "discriminator": (0.02, 1e-6, (0.5, 0.98))}
    found = totals.means()
    assert len(totals.figures["generator_loss"]) == 3
    assert found["generator_loss"] == sum(totals.figures["generator_loss"]) / 3


def test_text_is_drawn_from_all_sentences_whatever_the_speech(tmp_path: Path) -> None:
    batches = task(tmp_path).batches
    epochs = [[batch.text for batch in batches.epoch(epoch, 0)] for epoch in range(40)]
    assert {len(each) for each in epochs} == {19}  # 600 utterances in batches of 32
    for skip in (0, 7, 18):
        again = [batch.text for batch in batches.epoch(3, skip)]
        assert all(torch.equal(a, b) for a, b in zip(again, epochs[3][skip:], strict=True))
    drawn = {tuple(row.tolist()) for epoch in epochs for text in epoch for row in text}
    assert len({tuple(symbol for symbol in row if symbol) for row in drawn}) == 600
    utterances = [[number for batch in batches.epoch(epoch, 0) for number in batch.utterances] for epoch in range(2)]
    assert sorted(utterances[0]) == sorted(utterances[1]) == list(range(600))
    assert utterances[0] != utterances[1]


def test_utterances_of_fewer_than_three_segments_are_left_out(tmp_path: Path) -> None:
    cuts = list(load_cuts(Path("pooled", "cuts_train.jsonl.gz")).subset(first=6))
    short = [
        fastcopy(cut, features=fastcopy(cut.features, num_frames=2)) if n % 2 else cut for n, cut in enumerate(cuts)
    ]
    for split in ("train", "dev"):
        CutSet.from_cuts(short).to_file(tmp_path / f"cuts_{split}.jsonl.gz")
    prepare(load_config(Wav2VecUConfig, Path("gan.yaml")), tmp_path, Path("text"), tmp_path / "packed")
    assert json.loads((tmp_path / "packed" / "train_ids.json").read_text()) == [cut.id for cut in cuts[::2]]
    assert len(PackedSequences(tmp_path / "packed", "train")) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("silence='<PAUSE>'", "the text has no symbol '<PAUSE>'"),
        ("silence=null", "has_blank"),
        ("gan.generator.in_dim=31", "the features have 32 columns; set gan.generator.in_dim=32"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(gan("refused", "--set", change)) in (1, 2)
    assert message in capsys.readouterr().err
    assert not Path("refused/final").exists()


def test_a_model_without_silence_decodes_by_a_graph_and_by_a_beam_too() -> None:
    """Silence as a symbol that is scored, as on TIMIT: no blank among the outputs, and every decoder takes them."""
    more = ("--set", "silence=null", "--set", "gan.generator.has_blank=false")
    assert main(gan("scored", *SHORT, *QUIET, *more)) == 0
    lang = Lang.load(Path("scored/lang"))
    assert list(lang.tokens)[1:] == [SILENCE, *PHONES]
    decode = ["decode", "--checkpoint", "scored/final", "--cuts", "pooled/cuts_dev.jsonl.gz"]
    assert main([*decode, "--out", "scored/greedy"]) == 0
    found = {word for line in Path("scored/greedy/hyp.txt").read_text().splitlines() for word in line.split()[1:]}
    assert found <= {SILENCE, *PHONES}
    assert main(["ngram", "--text", "text/phones.txt", "--order", "2", "--out", "silence.arpa"]) == 0
    assert main(["graph", "--lang", "scored/lang", "--lm", "silence.arpa", "--out", "scored/graph"]) == 0
    wfst = [*decode, "--method", "wfst", "--graph", "scored/graph", "--out", "scored/wfst"]
    assert main(wfst) == 0
    beam = [*decode, "--method", "beam", "--lm", "silence.arpa", "--out", "scored/beam"]
    assert main(beam) == 0
    for name in ("wfst", "beam"):
        lines = Path("scored", name, "hyp.txt").read_text().splitlines()
        assert len(lines) == 60
        assert any(len(line.split()) > 1 for line in lines)
