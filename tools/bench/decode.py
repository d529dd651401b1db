"""CTC decoding with a lexicon and a 4-gram: speechkit's graph search against kaldi-decoder and flashlight-text.

All search the same simulated log-probabilities with the same 4-gram, estimated by `speechkit ngram` on text of a
made-up language of 5,000 words, on one thread each and in turn. kaldi-decoder's FasterDecoder gets the same graph,
composed with the CTC topology. The last line is JSON: "ratio" is the time of the fastest peer whose word error rate is
not above ours, over ours; "ratios" has every peer.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from decode_data import TOKENS, Source, Utterance, WeakModel, make_words
from timing import compare

from speechkit.cli import main as speechkit
from speechkit.decode.beam import BeamConfig, BeamSearch, Weights
from speechkit.decode.graph_backends import KaldiSearch
from speechkit.decode.wfst import LN10, WfstConfig, WfstSearch
from speechkit.fsa.wfst.graph import DecodingGraph
from speechkit.metrics.edit import edit_counts
from speechkit.text.lang import make_lang

# One natural-log unit of LM for one of the model: log10 probabilities times ln 10.
WEIGHTS = Weights(lm=LN10)
OURS = "speechkit wfst, beam 12, max-active 3000"
GRAPHS = {
    OURS: (WfstSearch, WfstConfig()),
    "speechkit wfst, beam 10": (WfstSearch, WfstConfig(beam=10)),
    "speechkit wfst, beam 16, max-active 7000": (WfstSearch, WfstConfig(beam=16, max_active=7000)),
    "kaldi FasterDecoder, beam 12, max-active 3000": (KaldiSearch, WfstConfig()),
    "kaldi FasterDecoder, beam 10": (KaldiSearch, WfstConfig(beam=10)),
    "kaldi FasterDecoder, beam 16, max-active 7000": (KaldiSearch, WfstConfig(beam=16, max_active=7000)),
}
BEAMS = {
    "flashlight, beam 50, threshold 20, 10 tokens": BeamConfig(size=50, tokens=10, threshold=20),
    "flashlight, beam 50, threshold 25, 30 tokens": BeamConfig(size=50, tokens=30, threshold=25),
}
Decoder = Callable[[], list[list[str]]]


def call(*words: object) -> None:
    """Run a command of speechkit."""
    if speechkit([str(word) for word in words]):
        raise SystemExit(f"speechkit {words[0]} failed")


def make_language(folder: Path, num_words: int, num_sentences: int, num_utterances: int) -> list[Utterance]:
    """Write text, language folder, 4-gram and graph into `folder`; return utterances that the text does not have."""
    rng = np.random.default_rng(0)
    words = make_words(num_words, rng)
    source = Source(words, rng)
    lines = [" ".join(sentence) for sentence in source.sentences(num_sentences)]
    (folder / "text").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lang = make_lang("char", words)
    if tuple(lang.tokens)[1:] != tuple(sorted(TOKENS[1:], key=lambda token: (token != "|", token))):
        raise SystemExit("the made-up words do not use all letters")
    lang.save(folder / "lang")
    call("ngram", "--text", folder / "text", "--order", 4, "--out", folder / "lm.arpa")
    call("graph", "--lang", folder / "lang", "--lm", folder / "lm.arpa", "--out", folder / "graph")
    model = WeakModel(rng)
    columns = [TOKENS.index(token) for token in lang.tokens]
    found = [model.utterance(sentence) for sentence in source.sentences(num_utterances)]
    return [Utterance(each.words, np.ascontiguousarray(each.log_probs[:, columns])) for each in found]


def decoders(folder: Path, utterances: list[Utterance]) -> dict[str, Decoder]:
    """Each candidate, loaded, as a function that decodes everything; ours first."""
    from speechkit.text.lang import Lang

    graph, found = DecodingGraph.load(folder / "graph"), dict[str, Decoder]()

    def decode(search: Any, words: Callable[[Any], list[str]]) -> Decoder:
        return lambda: [words(search.decode(each.log_probs, WEIGHTS)) for each in utterances]

    for name, (kind, config) in GRAPHS.items():
        found[name] = decode(kind(graph, config), lambda result: result.words)
    for name, beam in BEAMS.items():
        found[name] = decode(BeamSearch(Lang.load(folder / "lang"), folder / "lm.arpa", beam), lambda words: words)
    return found


def error_rate(utterances: list[Utterance], found: list[list[str]]) -> float:
    """Word errors in percent."""
    references = [each.words for each in utterances]
    return 100 * float(edit_counts(references, found).sum()) / sum(map(len, references))


def greedy_rate(utterances: list[Utterance]) -> float:
    """Word errors in percent without lexicon and LM."""
    import torch

    from speechkit.decode.greedy import greedy

    lang = make_lang("char", ["".join(TOKENS[2:])])
    found = [greedy(torch.from_numpy(each.log_probs)[None], torch.tensor([len(each.log_probs)])) for each in utterances]
    return error_rate(utterances, [lang.words(each[0]) for each in found])


def report(seconds: dict[str, float], rates: dict[str, float], utterances: list[Utterance]) -> dict[str, Any]:
    """Print utterances per second and word error rates; what the last line says."""
    frames = sum(len(each.log_probs) for each in utterances)
    for name, value in seconds.items():
        speed, real_time = len(utterances) / value, 0.02 * frames / value
        print(f"{name:52} {speed:7.0f} utterances/s  {real_time:6.0f} x real time  WER {rates[name]:.2f} %")
    ratios = {name: value / seconds[OURS] for name, value in seconds.items() if not name.startswith("speechkit")}
    equal = [ratio for name, ratio in ratios.items() if rates[name] <= rates[OURS] + 1e-9]
    return {"ratio": round(min(equal or ratios.values()), 2), "wer": round(rates[OURS], 3),
            "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()}}  # fmt: skip


def main() -> None:
    """Make the language, check that decoders agree, time them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--sentences", type=int, default=40_000, help="sentences that the 4-gram is estimated on")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep text, LM and graph here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        utterances = make_language(folder, args.words, args.sentences, args.utterances)
        mean = np.mean([len(each.log_probs) for each in utterances])
        print(f"{len(utterances)} utterances of {mean:.0f} frames, greedy WER {greedy_rate(utterances):.1f} %")
        candidates = decoders(folder, utterances)
        rates = {name: error_rate(utterances, decode()) for name, decode in candidates.items()}
        seconds = compare(candidates, args.repeats, warm_up=False)
    print(json.dumps(report(seconds, rates, utterances)))


if __name__ == "__main__":
    main()
