"""Forced alignment of a folder of recordings that belongs to no recipe, with a model trained on them or a given one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechkit.align.forced import Failure
from speechkit.align.models import AlignerModel
from speechkit.align.units import SILENCE, Units
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.extraction import FeaturesConfig, extract
from speechkit.data.manifests import Problem, Split, write_manifests
from speechkit.data.phonemise import phonemise
from speechkit.data.recordings import RATE, SPLIT, find_recordings, prepare_recordings, remove_work
from speechkit.data.validation import validate
from speechkit.features.fbank import FbankConfig
from speechkit.tasks.aligner import AlignerConfig, AlignerTraining, read_data
from speechkit.tasks.alignment import AlignedSet, HmmSetAligner, align_cuts
from speechkit.text.lexicon import Lexicon
from speechkit.train.distributed import World

log = logging.getLogger(__name__)
HELD_OUT = 10  # of so many utterances one is kept from training, to choose between the models
LEAST_SECONDS_OF_NETWORK = 600.0


@dataclass(frozen=True)
class RecordingsJob:
    """What to align and how; `language` names an espeak-ng language for words where there is no `lexicon`."""

    folder: Path
    text: Path | None
    out: Path
    formats: Sequence[str]
    model: Path | None = None
    lexicon: Path | None = None
    language: str | None = None
    engine: str = "auto"
    seed: int = 0
    nj: int = 1


def align_recordings(job: RecordingsJob) -> AlignedSet:
    """Convert, extract features, train where no model is given, align, and write to `job.out`.

    Raises:
        SpeechkitError: there are no recordings, or none of them can be used; `report.jsonl` says why.
    """
    work = job.out / ".work"
    model = AlignerModel.load(job.model) if job.model else None
    found = find_recordings(job.folder, job.text)
    log.info("%d recordings and transcripts in %s", len(found.sources), job.folder)
    content = prepare_recordings(found.sources, work / "audio", job.nj)
    content.problems += found.problems
    _require_some(content, job)
    units = _units(job, content, model)
    fbank = model.fbank if model else FbankConfig(sampling_rate=RATE)
    if not isinstance(fbank, FbankConfig):
        raise SpeechkitError(f"{job.model} reads stored features, not recordings; give --cuts with such features")
    cuts, problems = _features(content, fbank, work, job)
    if model is None:
        model = _trained(cuts, units, fbank, work, job)
        model.save(job.out / "model")
        log.info("the model is kept in %s; --model takes it", job.out / "model")
    aligner = HmmSetAligner(replace(model, units=units), job.engine)
    failures = [Failure(problem.id, problem.reason) for problem in problems]
    done = align_cuts(aligner, cuts, job.out, job.formats, failures, alone=True)
    remove_work(work)
    return done


def _require_some(content: Split, job: RecordingsJob) -> None:
    if not content.recordings:
        first = min(content.problems, key=lambda problem: problem.id)
        raise SpeechkitError(
            f"none of the {len(content.problems)} recordings and transcripts in {job.folder} can be used; "
            f"the first is {first.id}: {first.reason}"
        )


def _units(job: RecordingsJob, content: Split, model: AlignerModel | None) -> Units:
    """Units of the words: from a lexicon, from espeak-ng, from the model, or letters."""
    words = sorted({word for item in content.supervisions for word in str(item.text).split()})
    lexicon = Lexicon.read(job.lexicon) if job.lexicon else None
    if lexicon is not None:
        lexicon = _in_their_case(lexicon, words)
    elif job.language:
        lexicon = phonemise(words, job.language)
        if lexicon is None:
            raise SpeechkitError(f"espeak-ng says none of the words in language {job.language}; check --language")
    if model is not None:
        return _units_of_model(model, lexicon)
    if lexicon is None:
        log.info("neither --lexicon nor --language is given: letters are the units")
        lexicon = Lexicon((word, [letter for letter in word if letter.isalnum()] or [word]) for word in words)
    log.info("%d words, %d units", len(lexicon), len(lexicon.tokens))
    return Units.of_lexicon(lexicon)


def _in_their_case(lexicon: Lexicon, words: Sequence[str]) -> Lexicon:
    """The entries that the words need; a lexicon in capitals will do."""
    spelled = {word: form for word in words for form in (word.upper(), word.capitalize(), word) if form in lexicon}
    if not spelled:
        raise SpeechkitError("the lexicon has none of the words of the transcripts; check --lexicon and --text")
    return Lexicon((word, spelling) for word, form in spelled.items() for spelling in lexicon.spellings(form))


def _units_of_model(model: AlignerModel, lexicon: Lexicon | None) -> Units:
    units = model.units
    if lexicon is None:
        if units.lexicon is None:
            raise UsageError("the model aligns phones, not words: give the words' phones with --lexicon or --language")
        return units
    unknown = [unit for unit in lexicon.tokens if unit not in units.ids and unit != SILENCE]
    if unknown:
        raise SpeechkitError(
            f"the model has no unit {' '.join(map(repr, unknown[:10]))}, which the lexicon uses (units of the model: "
            f"{' '.join(units.names)})"
        )
    return replace(units, lexicon=lexicon, field="text", phone_set=None)


def _features(content: Split, fbank: FbankConfig, work: Path, job: RecordingsJob) -> tuple[Path, list[Problem]]:
    """Cuts with features, and all that was left out on the way."""
    write_manifests(work / "manifests", SPLIT, content)
    valid = validate(work / "manifests", work / "valid", fbank.sampling_rate, 1.0, job.nj, splits=(SPLIT,))
    short = extract(work / "valid", work / "fbank", FeaturesConfig(fbank), job.seed, job.nj, splits=(SPLIT,))
    return work / "fbank" / f"cuts_{SPLIT}.jsonl.gz", [*valid[SPLIT].problems, *short[SPLIT]]


def _trained(cuts: Path, units: Units, fbank: FbankConfig, work: Path, job: RecordingsJob) -> AlignerModel:
    """A model from a flat start on the cuts; a network too where there is audio enough for it."""
    config = AlignerConfig()
    data = read_data(cuts, units, fbank.num_bins, config.max_hours, job.seed)
    count, seconds = len(data.utterances), sum(each.duration for each in data.utterances)
    config = replace(config, emissions="best" if seconds >= LEAST_SECONDS_OF_NETWORK else "gmm")
    held_out = range(0, count, HELD_OUT)
    few = count < 2 * HELD_OUT  # all are trained on then
    train = data if few else data.rows(row for row in range(count) if row not in held_out)
    training = AlignerTraining(config, units, fbank, work / "training", job.seed, job.engine, World())
    model, record = training.run(train, data.rows(held_out))
    log.info("trained on %.2f h; the model of kind %s is used", record["hours"], record["chosen"])
    return model
