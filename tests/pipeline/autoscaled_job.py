"""A driver that labels on a cluster that grows, and writes down which nodes there were and where each stage ran.

The cluster's GPUs are made up, and cannot compute: stages are placed as with GPUs, and the model stays on the CPU.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.state import list_actors

from emolabel.config import Settings
from emolabel.pipeline import cluster
from emolabel.pipeline.annotate import RunOptions, annotate_inputs

_STAGES = ("PlanStage", "DecodeStage", "PredictStage")


def _kind(node: dict[str, Any]) -> str:
    resources = node["Resources"]
    if not resources.get("CPU"):
        return "head"
    return "predict" if resources.get("GPU") else "decode"


def _alive() -> dict[str, str]:
    return {node["NodeID"]: _kind(node) for node in ray.nodes() if node["Alive"]}


def _watch(record: list[dict[str, Any]], over: threading.Event) -> None:
    started, last = time.monotonic(), False
    while not last:
        last = over.wait(1)
        nodes = _alive()
        stages = sorted(
            (stage, nodes.get(actor.node_id, "gone"))
            for actor in list_actors(filters=[("state", "=", "ALIVE")])
            for stage in _STAGES
            if stage in actor.class_name
        )
        record.append({"s": round(time.monotonic() - started), "nodes": sorted(nodes.values()), "stages": stages})


def main() -> None:
    """Arguments: the address, the videos, the output, the bundle, a file for the record."""
    address, videos, out, bundle, record_file = sys.argv[1:]
    real = cluster.share_cluster
    cluster.share_cluster = lambda size, workers, _, detector, gpus: real(size, workers, "cuda", detector, gpus)
    record: list[dict[str, Any]] = []
    over = threading.Event()
    with cluster.ray_session(address):
        watcher = threading.Thread(target=_watch, args=(record, over))
        watcher.start()
        try:
            options = RunOptions(device="cpu", workers=2, gpus=1, address=address)
            annotate_inputs([videos], out, bundle, Settings(), options)
            deadline = time.monotonic() + 120
            while set(_alive().values()) != {"head"} and time.monotonic() < deadline:
                time.sleep(1)
        finally:
            over.set()
            watcher.join()
            Path(record_file).write_text(json.dumps(record))


if __name__ == "__main__":
    main()
