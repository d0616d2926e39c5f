"""emolabel: emotion labels for large video collections, on Ray.

>>> import emolabel
>>> emolabel.annotate(["videos/"], "out")            # doctest: +SKIP
>>> emolabel.read_labels("out")                      # doctest: +SKIP
>>> with emolabel.load_model() as model:             # doctest: +SKIP
...     model.annotate("clip.mp4")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emolabel.version import __version__

if TYPE_CHECKING:
    from emolabel.api import annotate, load_model, read_inputs, read_labels

__all__ = ["__version__", "annotate", "load_model", "read_inputs", "read_labels"]


def __getattr__(name: str) -> Any:
    """Import on first use: `import emolabel` must not wait for torch and Ray."""
    if name in __all__:
        return getattr(import_module("emolabel.api"), name)
    raise AttributeError(f"module 'emolabel' has no attribute {name!r}")
