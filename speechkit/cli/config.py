"""Print the configuration that a file and --set values come to, or what is wrong with it."""

import argparse
from pathlib import Path

KINDS = ("train", "pretrain", "lm", "code-bert", "bert", "bert-asr", "cif", "gan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit config`."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the system")
    parser.add_argument("--kind", choices=KINDS, default="train", help="what it configures")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value")


def run(args: argparse.Namespace) -> None:
    """Check and print."""
    from speechkit.config.load import dump_yaml, load_config
    from speechkit.tasks.bert_asr import BertAsrConfig
    from speechkit.tasks.cif import CifTrainingConfig
    from speechkit.tasks.code_bert import CodeBertConfig
    from speechkit.tasks.language_model import LmConfig
    from speechkit.tasks.pretrain import PretrainConfig
    from speechkit.tasks.recognizer import CtcConfig
    from speechkit.tasks.text_bert import TextBertTrainConfig
    from speechkit.tasks.wav2vec_u import Wav2VecUConfig

    schemas: dict[str, type] = {
        "train": CtcConfig,
        "pretrain": PretrainConfig,
        "lm": LmConfig,
        "code-bert": CodeBertConfig,
        "bert": TextBertTrainConfig,
        "bert-asr": BertAsrConfig,
        "cif": CifTrainingConfig,
        "gan": Wav2VecUConfig,
    }
    schema = schemas[args.kind]
    print(dump_yaml(load_config(schema, args.config, args.set)), end="")
