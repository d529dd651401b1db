"""Pictures, which are drawn where matplotlib is installed."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechkit.common.environment import install_command
from speechkit.common.files import atomic_path

log = logging.getLogger(__name__)


def pyplot() -> Any:
    """`matplotlib.pyplot` without a display, or None with a warning where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        log.warning("no picture without matplotlib; run: %s", install_command("matplotlib"))
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw_layers(path: Path, layers: Sequence[int], accuracies: Mapping[str, Sequence[float]], what: str) -> bool:
    """A line for each set over the layers of a model, in per cent; False where nothing could be drawn."""
    plt = pyplot()
    if plt is None:
        return False
    picture, panel = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, values in accuracies.items():
        panel.plot(layers, [100 * value for value in values], marker="o", label=name)
    panel.set_xlabel("layer")
    panel.set_ylabel(f"{what} accuracy (%)")
    panel.set_xticks(layers)
    panel.legend(fontsize="small")
    with atomic_path(path) as temporary:
        picture.savefig(temporary, dpi=150)
    plt.close(picture)
    return True
