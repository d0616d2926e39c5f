"""From bucket to bucket on three worker nodes, as a submitted job, with Prometheus looking on."""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

import emolabel
from chaos.clusters import LoopbackCluster
from chaos.store import BUCKET, Door, download, upload
from chaos.workload import WINDOW_S, make_bundle, make_clips

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

ROOT = Path(__file__).resolve().parents[2]
N_CLIPS = 300
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)


@dataclass
class Scraped:
    """What Prometheus would have seen."""

    names: set[str] = field(default_factory=set)
    finished: float = 0.0
    """The most inputs that were finished, of all statuses together."""
    lines: list[str] = field(default_factory=list)

    def look(self, cluster: LoopbackCluster) -> None:
        """Ask every node once."""
        finished = 0.0
        for url in cluster.metrics_urls():
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    text = answer.read().decode()
            except OSError:  # a node that was killed
                continue
            for name, labels, value in _SAMPLE.findall(text):
                self.names.add(name)
                if name.startswith("ray_emolabel_inputs_finished"):
                    finished += float(value)
                    self.lines.append(f"{name}{{{labels}}} {value}")
        self.finished = max(self.finished, finished)


@contextmanager
def scraping(cluster: LoopbackCluster) -> Iterator[Scraped]:
    """Looks every two seconds, for as long as the context lasts."""
    scraped, over = Scraped(), threading.Event()

    def look() -> None:
        while not over.wait(2):
            scraped.look(cluster)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield scraped
    finally:
        over.set()
        thread.join()


def rows(out: str) -> pd.DataFrame:
    """Labels by the file's name: a bucket and a folder know it under different ids."""
    labels = emolabel.read_labels(out)
    labels["name"] = labels["input"].str.rpartition("/")[2]
    keys = ["name", "window_index", "face_id"]
    assert not labels.duplicated(keys).any()
    return labels.drop(columns=["video_id", "input", "run_id"]).sort_values(keys).reset_index(drop=True)


def n_labelled(scratch: Path) -> int:
    """Clips with labels in the bucket."""
    download("out", scratch)
    return emolabel.read_labels(scratch)["input"].nunique() if list(scratch.glob("labels/*.parquet")) else 0


def test_bucket_to_bucket_with_a_node_killed_half_way(store: Door, tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", N_CLIPS)
    bundle = tmp_path / "bundle"
    make_bundle(bundle)
    upload(tmp_path / "videos", "in")
    nodes = LoopbackCluster(tmp_path, n_workers=3)
    nodes.environment["RAY_metrics_report_interval_ms"] = "1000"  # a job of a minute, and not of days
    with nodes as cluster, scraping(cluster) as scraped:
        command = [str(Path(sys.executable).parent / "ray"), "job", "submit", f"--address={cluster.jobs_address}"]
        command += ["--working-dir", ".", "--", sys.executable, "jobs/annotate.py", f"s3://{BUCKET}/in"]
        command += ["-o", f"s3://{BUCKET}/out", "--model", str(bundle), "--window", str(WINDOW_S), "--workers", "3"]
        job = subprocess.Popen(
            command, cwd=ROOT, env=cluster.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while not n_labelled(tmp_path / "half-way") and job.poll() is None:
            time.sleep(0.5)
        cluster.worker_raylets()[0].kill()
        before = n_labelled(tmp_path / "half-way")
        told, _ = job.communicate(timeout=500)
    assert job.returncode == 0, told
    assert 0 < before < N_CLIPS, "the node died too early or too late"
    assert 0 < scraped.finished <= N_CLIPS
    assert "do-not-show-this" not in told
    emolabel.annotate(tmp_path / "videos", tmp_path / "local", model=str(bundle), window=WINDOW_S)
    download("out", tmp_path / "out")
    here, there = rows(str(tmp_path / "local")), rows(str(tmp_path / "out"))
    pd.testing.assert_frame_equal(here, there, atol=1e-5, rtol=0)
    assert len(emolabel.read_inputs(tmp_path / "out")) == N_CLIPS
    print(*scraped.lines[-4:], sep="\n")
    print(*sorted(name for name in scraped.names if "data" in name or "node" in name or "object" in name))
    dashboard = json.loads((ROOT / "jobs" / "grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_\w+", target["expr"])
    }
    assert asked
    assert asked <= scraped.names, asked - scraped.names
