from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.config.load import dump_yaml, from_dict, load_config, to_dict


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 4
    rate: float = 0.1
    strides: tuple[int, ...] = (1, 2)
    kind: Literal["conv", "linear"] = "conv"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be positive, not {self.width}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    model: Inner = field(default_factory=Inner)
    name: str = "plain"
    deep: bool = False


def test_child_overrides_only_what_it_names_and_set_wins(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {width: 8, strides: [2, 2]}\nname: parent\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\nmodel:\n  rate: 1e-3\n")
    config = load_config(Outer, tmp_path / "child.yaml", ["model.width=16", "deep=true", "model.limit=3"])
    assert config == Outer(model=Inner(width=16, rate=1e-3, strides=(2, 2), limit=3), name="parent", deep=True)


def test_what_is_dumped_is_read_back_equal(tmp_path: Path) -> None:
    config = Outer(model=Inner(strides=(3,), kind="linear"), name="été")
    (tmp_path / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(Outer, tmp_path / "config.yaml") == config
    assert from_dict(Outer, to_dict(config), "dict") == config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.widht=3", ["unknown configuration key 'model.widht'", "did you mean 'width'"]),
        ("model.width=wide", ["'model.width'", "int", "'wide'"]),
        ("model.width=true", ["'model.width'", "int"]),
        ("model.kind=linaer", ["'model.kind'", "did you mean 'linear'"]),
        ("model.strides=3", ["'model.strides'", "list"]),
        ("model.width=0", ["width must be positive"]),
        ("name.x=1", ["'name'"]),
        ("justakey", ["key=value"]),
        ("model=3", ["'model'", "group of keys"]),
    ],
)
def test_a_wrong_override_is_one_line_that_names_key_and_remedy(override: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(Outer, None, [override])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_or_circular_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match=r"absent\.yaml"):
        load_config(Outer, tmp_path / "absent.yaml")
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(SpeechkitError, match="leads back"):
        load_config(Outer, tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("model: [1,\n")
    with pytest.raises(SpeechkitError, match=r"c\.yaml is not valid YAML"):
        load_config(Outer, tmp_path / "c.yaml")
