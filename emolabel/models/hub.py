"""Bundles from the Hugging Face hub."""

import re
from pathlib import Path
from typing import Final

from emolabel.errors import BundleError

HUB_ID: Final = re.compile(
    r"(?P<repository>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<revision>[\w./-]+))?"
)
"""`owner/name`, or `owner/name@revision` with a branch, tag or commit."""


def fetch(hub_id: str, *files: str) -> Path:
    """Brings the named files of a repository into the hub's cache, and gives the folder where they lie.

    Whatever else the repository holds, pickles above all, stays there. Where the hub cannot be reached, a copy that
    is in the cache already will do. `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` work as usual.

    Raises:
        BundleError: the id is malformed, the hub cannot be reached, or does not give the files.
    """
    match = HUB_ID.fullmatch(hub_id)
    if match is None:
        raise BundleError(f"{hub_id!r} is no hub id: expected owner/name or owner/name@revision")
    import huggingface_hub  # half a second that local bundles need not wait for
    from huggingface_hub import errors

    try:
        folder = huggingface_hub.snapshot_download(
            match["repository"], revision=match["revision"], allow_patterns=list(files)
        )
    except errors.GatedRepoError as error:
        raise BundleError(f"{hub_id}: the hub asks you to accept its terms there first, and to set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise BundleError(f"{hub_id}: no such folder here and no such repository on the hub (or no access)") from error
    except errors.RevisionNotFoundError as error:
        raise BundleError(f"{hub_id}: the repository has no revision {match['revision']!r}") from error
    except (OSError, ValueError) as error:  # the base of connection errors, and of malformed ids
        raise BundleError(
            f"{hub_id}: no such folder here, and the Hugging Face hub gave no such bundle: {_first_line(error)}"
        ) from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
