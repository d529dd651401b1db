"""Recognition by hidden Markov models that were trained for alignment, on a decoding graph of their states."""

import math
from collections.abc import Iterator
from pathlib import Path

from speechkit.align.hmm import unit_pdfs
from speechkit.align.models import AlignerModel, Utterance
from speechkit.align.units import Transcript
from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.alignments import read_spoken
from speechkit.data.parallel import parallel_map
from speechkit.decode.beam import Weights
from speechkit.decode.methods import GraphMethod
from speechkit.features.cmvn import Cmvn
from speechkit.fsa.wfst.compile import CompileLimits, compile_graph
from speechkit.fsa.wfst.graph import DecodingGraph, Topology
from speechkit.fsa.wfst.lexicon import Silence
from speechkit.lm.arpa import Arpa
from speechkit.tasks.aligner import observed
from speechkit.tasks.recognition import Emission, WordsJob
from speechkit.text.lang import Lang
from speechkit.text.tokens import WORD_BOUNDARY

NOTHING_SAID = Transcript((), ())


def compile_hmm_graph(
    model: AlignerModel, lang: Lang, ngram: Arpa, limits: CompileLimits | None = None
) -> DecodingGraph:
    """A graph over the states of a model, with the words of a language and an n-gram.

    Where the transcripts of the training did not tell where silence is, it may come around every word.

    Raises:
        SpeechkitError: the lexicon has a phone that the model has not, or as `compile_graph`.
    """
    units, hmm = model.units, model.hmm
    unknown = [phone for phone in lang.lexicon.tokens if phone not in units.ids and phone != WORD_BOUNDARY]
    if unknown:
        raise SpeechkitError(
            f"the hidden Markov models have no unit {' '.join(map(repr, unknown[:10]))}, which the lexicon uses; "
            "train them with this language folder"
        )
    entries = [
        (word, [pdf for phone in spelling if phone != WORD_BOUNDARY for pdf in unit_pdfs(units.ids[phone], units, hmm)])
        for word, spelling in lang.lexicon.entries
    ]
    states = [
        f"{name}_{state}" for unit, name in enumerate(units.names) for state in range(len(unit_pdfs(unit, units, hmm)))
    ]
    pause = None
    if units.optional_silence is not None:
        pdfs = unit_pdfs(units.optional_silence, units, hmm)
        pause = Silence(pdfs.start, hmm.silence_probability, len(pdfs))
    loop, forward = (hmm.self_loop_scale * math.log(each) for each in (hmm.self_loop, 1 - hmm.self_loop))
    topology = Topology("hmm", loop, forward)
    return compile_graph(entries, ngram.levels, states, topology=topology, silence=pause, limits=limits)


def hmm_emissions(model: AlignerModel, cuts: Path, scale: float) -> Iterator[Emission]:
    """Log-likelihoods of the states `(T, P)` of each cut, times `scale`; statistics of speakers lie beside the cuts."""
    cmvn, bins = Cmvn.load(cuts.with_name("cmvn.safetensors")), model.fbank.num_bins
    for spoken in read_spoken(cuts):
        utterance: Utterance = observed(spoken, NOTHING_SAID, cmvn, bins)
        if utterance.log_mel.shape[1] != bins:
            raise SpeechkitError(
                f"cut {spoken.id} has features of {utterance.log_mel.shape[1]} dimensions, the models were trained on "
                f"{bins}; extract them as for their training"
            )
        (scores,) = model.emissions.log_likelihoods([utterance])
        yield Emission(spoken.id, (scores * scale).float().numpy(), [])


def hmm_words(
    model: AlignerModel, method: GraphMethod, cuts: Path, weights: Weights, scale: float, num_jobs: int = 1
) -> dict[str, list[str]]:
    """Words of each cut."""
    names = [spoken.id for spoken in read_spoken(cuts)]
    if not names:
        raise SpeechkitError(f"{cuts} holds no cut; run the stage that makes it again")
    method.prepare()
    found = parallel_map(WordsJob(method, weights), hmm_emissions(model, cuts, scale), num_jobs)
    return dict(zip(names, progress(found, len(names), "decoding"), strict=True))
