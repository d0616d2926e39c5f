"""The decoding child: `python -m emolabel.media.child REQUESTS REPLIES COMPLAINTS PARENT LIMITS`.

Three file descriptors (`COMPLAINTS` reads what this process writes to stderr), the parent's process id, and the
`DecodeLimits` as JSON. Starts in about a tenth of a second: NumPy and PyAV, never torch.
"""

import json
import sys

from emolabel.config import DecodeLimits
from emolabel.media.sandbox import confine


def main(limits: DecodeLimits, requests: int, replies: int, complaints: int, parent: int) -> None:
    confine(limits.memory_mb, parent)
    # Only now: libraries that are loaded before could hold threads and memory that the limits do not bind.
    from emolabel.media.service import Service, serve

    serve(requests, replies, Service(limits, complaints))


if __name__ == "__main__":
    main(DecodeLimits(**json.loads(sys.argv[5])), *(int(text) for text in sys.argv[1:5]))
