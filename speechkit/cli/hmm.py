"""Train an aligner: Gaussian mixtures from a flat start, then a network on their alignments; the better one is kept."""

import argparse
import logging
from pathlib import Path

from speechkit.cli.training import origin

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit hmm`."""
    parser.add_argument(
        "--data", type=Path, required=True, help="feature folder with cuts_train, cuts_dev and cmvn.safetensors"
    )
    parser.add_argument("--lang", type=Path, required=True, help="language folder, which tells units and lexicon")
    parser.add_argument("--out", type=Path, required=True, help="folder for the aligner")
    parser.add_argument("--config", type=Path, help="YAML file; the built-in settings where left out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    parser.add_argument("--features", type=Path, help="YAML file that log-mel features were extracted with")
    parser.add_argument("--fsa-engine", default="auto", metavar="{auto,torch,k2}", help="what searches for best paths")
    parser.add_argument("--seed", type=int, default=0, help="seed of mixtures, weights and order of data")


def run(args: argparse.Namespace) -> None:
    """Train and write OUT/final."""
    from speechkit.align.units import Units
    from speechkit.common.errors import UsageError
    from speechkit.common.files import write_json, write_text
    from speechkit.config.load import dump_yaml, load_config
    from speechkit.data.extraction import FeaturesConfig
    from speechkit.fsa.intersect import choose_engine
    from speechkit.tasks.aligner import AlignerConfig, AlignerTraining, read_data, stored_frames
    from speechkit.text.lang import Lang
    from speechkit.train.distributed import World

    engine = choose_engine(args.fsa_engine)
    config = load_config(AlignerConfig, args.config, args.set)
    stored = stored_frames(args.data / "cuts_train.jsonl.gz")
    if stored and config.gmm.features.cepstra:
        raise UsageError(
            f"the features of {args.data} are no log-mel energies, of which there are cepstra; take them as they are "
            "with --set gmm.features.cepstra=0"
        )
    fbank = stored or load_config(FeaturesConfig, args.features).fbank
    units = Units.of_lang(Lang.load(args.lang))
    units = units if config.hmm.silence_states is None else units.silence_last()
    train, dev = (
        read_data(args.data / f"cuts_{split}.jsonl.gz", units, fbank.num_bins, config.max_hours, args.seed)
        for split in ("train", "dev")
    )
    for split, data in (("train", train), ("dev", dev)):
        if data.failures:
            log.warning("%d utterances of %s are left out; the first: %s", len(data.failures), split, data.failures[0])
    log.info("searching for best paths with the engine %s", engine)
    training = AlignerTraining(config, units, fbank, args.out, args.seed, engine, World())
    model, record = training.run(train, dev)
    write_text(args.out / "config.yaml", dump_yaml(config))
    hours = sum(each.duration for each in train.utterances) / 3600
    write_json(args.out / "run.json", {**origin(args, "", args.data), "train_hours": hours})
    model.save(args.out / "final", {**record, "seed": args.seed, "engine": engine})
    log.info("the aligner (%s) is %s", record["chosen"], args.out / "final")
