"""A bundle in words, for people."""

from collections.abc import Mapping
from typing import Any

from emolabel.models.bundle import LoadedBundle
from emolabel.models.strict import to_plain


def describe_bundle(bundle: LoadedBundle) -> str:
    """A readable text of several lines: what the model is, what it wants, where its weights come from."""
    config = bundle.config
    lines = [
        f"Bundle        {bundle.name}",
        f"SHA-256       {bundle.sha256}",
        f"Architecture  {config.architecture}",
        f"Trained       {_trained(bundle)}",
        f"Weights       {config.weights_dtype} in the file",
        f"Labels        {', '.join(config.labels)}",
        "",
        "Parts",
        *_parts(bundle),
        "",
        "Input",
        *_tree(to_plain(bundle.model.input_spec)),
        "",
        "Settings",
        *_tree(_without_sampling(config.config)),
    ]
    for title, content in (
        ("Provenance", config.provenance),
        ("Metrics", config.metrics),
        ("Licence", config.licence),
    ):
        lines += ["", title, *(_tree(content) or ["  not given"])]
    return "\n".join(lines)


def _trained(bundle: LoadedBundle) -> str:
    if bundle.trained:
        return "yes"
    random = [part for part, trained in bundle.config.trained.items() if not trained]
    where = "all parts" if len(random) == len(bundle.config.trained) else ", ".join(random)
    return f"NO: its labels mean nothing. Random weights in {where}"


def _parts(bundle: LoadedBundle) -> list[str]:
    parts = bundle.model.parts()
    width = max(18, *(len(name) + 2 for name in parts))
    rows = []
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        state = "trained" if bundle.config.trained[name] else "random"
        rows.append(f"  {name:<{width}}{count:>12,} parameters, {state}")
    total = sum(parameter.numel() for parameter in bundle.model.parameters())
    return [*rows, f"  {'all':<{width}}{total:>12,} parameters"]


def _without_sampling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling stands under Input already."""
    return {
        key: _without_sampling(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key != "sampling"
    }


def _tree(content: Mapping[str, Any], depth: int = 1) -> list[str]:
    lines = []
    for key, value in content.items():
        indent = "  " * depth
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_tree(value, depth + 1)]
        else:
            lines.append(f"{indent}{key}: {_plain(value)}")
    return lines


def _plain(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
