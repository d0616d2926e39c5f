"""What a listing of an S3 prefix costs in time and memory: `python -m bench.listing --keys 100000`."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from moto.s3.models import s3_backends

from chaos.store import BUCKET, object_store
from emolabel.pipeline.sources import list_inputs


def make_keys(n: int) -> None:
    """Put empty objects with the names of videos into a prefix, behind the server's back: it takes 3 ms for each."""
    (buckets,) = (account["aws"] for account in s3_backends.values() if BUCKET in account["aws"].buckets)
    for i in range(n):
        buckets.put_object(BUCKET, f"many/channel_{i % 100:02}/episode_{i:07}.mp4", b"")


def list_keys() -> None:
    """List them, and say what it took."""
    before = _peak_mb()
    started = time.monotonic()
    listing = list_inputs([f"s3://{BUCKET}/many"])
    n, seconds = len(listing.sources), time.monotonic() - started
    print(f"{n} keys in {seconds:.1f} s, {1e6 * (_peak_mb() - before) / n:.0f} bytes of memory for each")


def _peak_mb() -> float:
    """The most memory of this process since it began; `ru_maxrss` would count the process that it was forked from."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Make the keys, and list them in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        list_keys()
        return
    with object_store():
        make_keys(options.keys)
        subprocess.run([sys.executable, "-m", "bench.listing", "--here"], check=True)


if __name__ == "__main__":
    main()
