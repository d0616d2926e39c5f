"""Ensemble bundles from the bundles of their members."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emolabel.errors import BundleError
from emolabel.models.bundle import LoadedBundle, load_bundle, save_bundle
from emolabel.models.ensemble.model import Ensemble
from emolabel.models.strict import to_plain


def make_ensemble(
    bundles: Sequence[str | Path],
    out: str | Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    licence: Mapping[str, Any] | None = None,
    half: bool | None = None,
) -> LoadedBundle:
    """Writes one bundle that holds several and averages their probabilities.

    Args:
        bundles: names, folders or hub ids of 2-32 members; all of one architecture and config.
        metrics: of the ensemble; those of its members stand in the provenance.
        licence: None: that of the members, where it is the same for all; else each member's.
        half: half precision, as in `save_bundle`; None: where all members are stored so.

    Raises:
        BundleError: a member cannot be loaded, is there twice, or differs from the first in architecture or config;
            the folder cannot be written.
    """
    members = [load_bundle(bundle) for bundle in bundles]
    _check_members(bundles, members)
    try:
        ensemble = Ensemble([member.model for member in members]).eval()
    except ValueError as error:
        raise BundleError(f"cannot make the ensemble {name!r}: {error}") from error
    return save_bundle(
        ensemble,
        out,
        name=name,
        trained={
            f"members.{i}.{part}": trained
            for i, member in enumerate(members)
            for part, trained in member.config.trained.items()
        },
        provenance={"weights": f"ensemble of {len(members)} bundles", "members": [_origin(each) for each in members]},
        metrics=metrics,
        licence=_licence(members) if licence is None else licence,
        half=all(member.config.weights_dtype == "float16" for member in members) if half is None else half,
    )


def _check_members(bundles: Sequence[str | Path], members: Sequence[LoadedBundle]) -> None:
    if not members:
        raise BundleError("an ensemble needs members: give at least two bundles")
    first_at: dict[str, str | Path] = {}
    for where, member in zip(bundles, members, strict=True):
        if member.sha256 in first_at:
            raise BundleError(f"{where} is the same bundle as {first_at[member.sha256]}: it would vote twice")
        first_at[member.sha256] = where
        first = members[0]
        if member.model.architecture != first.model.architecture:
            raise BundleError(
                f"{where} is of the architecture {member.model.architecture}, "
                f"{bundles[0]} of {first.model.architecture}: members must be alike"
            )
        if member.model.config != first.model.config:
            different = _difference(to_plain(first.model.config), to_plain(member.model.config))
            raise BundleError(f"{where} has another config than {bundles[0]} ({different}): members must be alike")


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], where: str = "") -> str:
    """The first setting that differs, in words."""
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            inner = _difference(a, b, f"{where}{key}.")
            if inner:
                return inner
        elif a != b:
            return f"{where}{key}: {_brief(b)} instead of {_brief(a)}"
    return ""


def _brief(value: object) -> str:
    return "a group of settings" if isinstance(value, Mapping) else f"{value!r:.40}"


def _origin(member: LoadedBundle) -> dict[str, Any]:
    config = member.config
    return {
        "name": config.name,
        "sha256": member.sha256,
        "provenance": config.provenance,
        "metrics": config.metrics,
    }


def _licence(members: Sequence[LoadedBundle]) -> dict[str, Any]:
    first = members[0].config.licence
    if all(member.config.licence == first for member in members):
        return dict(first)
    return {"members": [member.config.licence for member in members]}
