"""What a listing of an S3 prefix costs in time and memory: `python -m bench.listing --keys 100000`."""

import argparse
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3  # type: ignore[import-untyped]  # it has no types

from chaos.store import BUCKET, object_store
from emolabel.pipeline.sources import list_inputs


def make_keys(n: int) -> None:
    """Put empty objects with the names of videos into a prefix."""
    s3 = boto3.client("s3")
    with ThreadPoolExecutor(8) as pool:
        names = (f"many/channel_{i % 100:02}/episode_{i:07}.mp4" for i in range(n))
        list(pool.map(lambda name: s3.put_object(Bucket=BUCKET, Key=name, Body=b""), names))


def list_keys() -> None:
    """List them, and say what it took."""
    before = _peak_mb()
    started = time.monotonic()
    listing = list_inputs([f"s3://{BUCKET}/many"])
    n, seconds = len(listing.sources), time.monotonic() - started
    print(f"{n} keys in {seconds:.1f} s, {1e6 * (_peak_mb() - before) / n:.0f} bytes of memory for each")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


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
