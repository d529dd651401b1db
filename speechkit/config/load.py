"""YAML to frozen dataclasses and back.

A file may name its parent with `base: other.yaml` (relative to itself) and then
holds only what differs. `--set a.b=value` changes single values; the value is
read as YAML. An unknown key or a value of the wrong type is a `UsageError` that
names the key, the nearest known one, and the file.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import require_file
from speechkit.common.names import nearest

Config = TypeVar("Config")


def load_config(schema: type[Config], path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Build `schema` from the YAML file at `path` (its defaults when None) and `key=value` overrides."""
    values = read_yaml(path) if path else {}
    for override in overrides:
        _apply(values, override)
    return from_dict(schema, values, source=str(path or "--set"))


def read_yaml(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML mapping, merged over the file that its `base:` names."""
    import yaml

    require_file(path, "correct --config")
    if path.resolve() in children:
        raise SpeechkitError(f"{path}: `base:` leads back to the file itself; remove one of the `base:` lines")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise SpeechkitError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SpeechkitError(f"{path} must hold `key: value` lines, not a {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    return _merge(read_yaml(path.parent / str(base), (*children, path.resolve())), values)


def from_dict(schema: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """Build `schema` from nested mappings; `source` is named in error messages."""
    config: Config = _build(schema, values, "", source)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `from_dict`: plain mappings, lists and scalars."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    return plain


def dump_yaml(config: Any) -> str:
    """The resolved configuration as YAML, in the order of the schema."""
    import yaml

    return str(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    import yaml

    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UsageError(f"--set takes key=value, not '{override}'")
    *parents, last = key.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"--set {override}: '{parent}' is a value, not a group of keys")
        values = child
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: the value is not valid YAML") from error


def _build(schema: Any, values: Any, prefix: str, source: str) -> Any:
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: '{prefix.rstrip('.')}' must be a group of keys, not {values!r}")
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = typing.get_type_hints(schema)
    for key in values:
        if key not in fields:
            near = nearest(str(key), fields) or f"; known keys: {', '.join(fields)}"
            raise UsageError(f"{source}: unknown configuration key '{prefix}{key}'{near}")
    arguments = {key: _convert(hints[key], value, f"{prefix}{key}", source) for key, value in values.items()}
    missing = [name for name, field in fields.items() if name not in values and _required(field)]
    if missing:
        raise UsageError(f"{source}: the configuration lacks '{prefix}{missing[0]}'; add it to the file or with --set")
    try:
        return schema(**arguments)
    except ValueError as error:
        raise UsageError(f"{source}: {prefix.rstrip('.') or 'configuration'}: {error}") from error


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, key: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{key}.", source)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, key, source)
    if origin is typing.Literal:
        if value in arguments:
            return value
        near = nearest(str(value), map(str, arguments)) or f"; one of {', '.join(map(str, arguments))}"
        raise UsageError(f"{source}: '{key}' cannot be {value!r}{near}")
    if origin is tuple:
        return _convert_tuple(arguments, value, key, source)
    if origin is dict:
        return _convert_dict(arguments, value, key, source)
    return _convert_scalar(hint, value, key, source)


def _convert_union(arguments: tuple[Any, ...], value: Any, key: str, source: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    return _convert(kinds[0], value, key, source)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, key: str, source: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{source}: '{key}' must be a list, not {value!r}")
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{key}[{index}]", source) for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise UsageError(f"{source}: '{key}' must hold {len(arguments)} values, not {len(value)}")
    return tuple(
        _convert(kind, item, f"{key}[{index}]", source)
        for index, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_dict(arguments: tuple[Any, ...], value: Any, key: str, source: str) -> Any:
    if not isinstance(value, Mapping):
        raise UsageError(f"{source}: '{key}' must be a group of keys, not {value!r}")
    return {str(name): _convert(arguments[1], item, f"{key}.{name}", source) for name, item in value.items()}


def _convert_scalar(hint: Any, value: Any, key: str, source: str) -> Any:
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as a string
        except ValueError:
            pass
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UsageError(f"{source}: '{key}' must be of type {hint.__name__}, not {value!r}")
