"""Where tests find real media. They skip, and say so, where it is absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    folder = SHARED / "media" / "videos"
    if not folder.is_dir():
        pytest.skip(f"real videos are absent: no {folder}")
    return folder
