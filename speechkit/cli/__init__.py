"""The command line: `speechkit <command>`, one short module per command."""

import argparse
import errno
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from speechkit import __version__
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest

COMMANDS = {
    "doctor": "print versions, and what is missing with the command that adds it",
    "miniature": "synthesise a small corpus in a real corpus's layout",
    "further-text": "write more text of a miniature's language, in phones",
    "prepare": "turn a corpus, or recordings with transcripts, into Lhotse manifests",
    "import": "turn data of Kaldi or Hugging Face into manifests, or a model of another toolkit into a checkpoint",
    "export": "write cuts as Kaldi, Hugging Face or Lhotse has them, or a model as Hugging Face or ONNX has it",
    "validate": "decode every file once and leave out what is bad",
    "silence": "take silence out of recordings",
    "features": "extract features and normalisation statistics",
    "subset": "take a part of the training set",
    "pool": "pool hidden states into segments, for unsupervised recognition",
    "unpair": "take a training set apart into audio and text that does not belong to it",
    "lang": "make token table, lexicon and language-model text",
    "lexicon": "find the phones of words in a dictionary, and by espeak-ng",
    "unpaired-text": "make phones with silences of text that belongs to no recording",
    "ngram": "estimate an n-gram language model",
    "lm": "train a neural language model",
    "graph": "compile a decoding graph from a lexicon and an n-gram model",
    "config": "check a configuration and print all of it",
    "hmm": "train hidden Markov models for alignment",
    "align": "find where words and phones are in their recordings",
    "segments": "find where characters lie, with or without the reference",
    "cif": "train a predictor of the ends of characters",
    "boundaries": "compare the times of alignments with true ones",
    "pretrain": "pre-train a self-supervised model",
    "probe": "classify phones or speakers linearly from frozen features",
    "cluster": "make frame labels by k-means",
    "codes": "make frame labels by the quantiser of vq-wav2vec",
    "code-bert": "train BERT over codes of speech",
    "bert": "train BERT over characters of text, or from it a language model",
    "gan": "learn phones from speech and unpaired text, by wav2vec-U",
    "gan-select": "choose among the seeds of wav2vec-U without transcripts",
    "train": "train a model",
    "bert-asr": "train a text BERT that hears the segment of each character",
    "pseudo-label": "label audio without transcripts by a trained model, to train on it",
    "rounds": "compare the rounds of pseudo-labelling and take the best model",
    "decode": "recognise a set, with or without a language model",
    "bert-decode": "recognise a set with BERT-ASR, in given segments",
    "hmm-decode": "recognise a set by hidden Markov models",
    "unsup-select": "choose among decodings without transcripts",
    "relabel": "give cuts what was recognised in them as transcripts",
    "score": "count errors against the reference",
    "results": "write the table of results",
    "sweep": "run a grid of values and seeds of a recipe, and write the table of its results",
    "mark": "check and write the done marks of recipe stages",
}


class Parser(argparse.ArgumentParser):
    """Argument parser that names the nearest known option and takes no abbreviations."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **options)  # type: ignore[arg-type]

    def check_options(self, arguments: list[str]) -> None:
        """Complain about the first unknown option, before argparse complains about what is missing without it."""
        known = [name for action in self._actions for name in action.option_strings]
        for argument in arguments:
            name = argument.split("=")[0]
            if name.startswith("--") and name not in known:
                self.error(f"unknown option '{name}'{nearest(name, known)}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code (0, 1 for bad input, 2 for wrong usage, 130 when interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"speechkit {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        print(
            f"speechkit: unknown command '{command}'{nearest(command, COMMANDS)} (see speechkit --help)",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(f"speechkit.cli.{command.replace('-', '_')}")
    parser = Parser(prog=f"speechkit {command}", description=module.__doc__)
    module.add_arguments(parser)
    parser.check_options(arguments[1:])
    args = parser.parse_args(arguments[1:])
    _set_up_logging()
    return _run(command, module.run, args)


def _run(command: str, run, args: argparse.Namespace) -> int:  # type: ignore[no-untyped-def]
    log = logging.getLogger("speechkit")
    try:
        run(args)
    except SpeechkitError as error:
        log.error("speechkit %s: %s", command, error)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        log.error("speechkit %s: interrupted; the same command goes on from here", command)
        return 130
    except OSError as error:
        if error.errno != errno.ENOSPC:
            log.exception("speechkit %s failed", command)
            return 70
        log.error(
            "speechkit %s: no space left on the disk of %s; free some space and run again", command, error.filename
        )
        return 1
    except Exception:
        log.exception("speechkit %s failed; this is a bug, please report it with the lines above", command)
        return 70
    return 0


def _set_up_logging() -> None:
    """Messages go to standard error and, with $SPEECHKIT_LOG, to that file too."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if name := os.environ.get("SPEECHKIT_LOG"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(name, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers = handlers
    logging.getLogger("speechkit").setLevel(logging.INFO)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "usage: speechkit COMMAND [options]; speechkit COMMAND --help tells more\n\n" + "\n".join(lines)
