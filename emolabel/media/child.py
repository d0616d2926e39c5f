"""The decoding child: `python -m emolabel.media.child REQUESTS REPLIES COMPLAINTS FRAMES PARENT LIMITS`.

Four file descriptors (`COMPLAINTS` reads what this process writes to stderr, `FRAMES` is of `emolabel.media.shared`),
the parent's process id, and the `DecodeLimits` as JSON. Starts in about a tenth of a second: NumPy and PyAV, never
torch.
"""

import json
import sys

from emolabel.config import DecodeLimits
from emolabel.media.sandbox import confine


def main(limits: DecodeLimits, requests: int, replies: int, complaints: int, frames: int, parent: int) -> None:
    confine(limits.memory_mb, parent)
    # Only now: libraries that are loaded before could hold threads and memory that the limits do not bind.
    from emolabel.media.service import Service, serve
    from emolabel.media.shared import FrameRoom

    serve(requests, replies, Service(limits, complaints, FrameRoom(frames)))


if __name__ == "__main__":
    main(DecodeLimits(**json.loads(sys.argv[6])), *(int(text) for text in sys.argv[1:6]))
