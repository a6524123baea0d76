"""Time the scores of one embedding at full size; print one JSON object.

Seconds of each step, by the clock and of the processors, the peak memory of the process before
and after, and scib-metrics on the same vectors where it can be imported (after ours, so that its
memory does not count as ours).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from leadline.stats import clustering, embedding_metrics, embedding_probes
from leadline.stats.embedding_inputs import principal_components
from leadline.stats.neighbours import nearest_others


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(seconds: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = call()
    seconds[name] = round(time.perf_counter() - start, 2)
    print(f"{name} {seconds[name]} s", file=sys.stderr, flush=True)
    return result


def make(cells: int, dims: int) -> tuple[Any, Any, Any]:
    """Ten overlapping labels, three batches, dimensions that are correlated as a model's are."""
    rng = np.random.default_rng(0)
    label, batch = rng.integers(0, 10, cells), rng.integers(0, 3, cells)
    hidden = rng.normal(size=(cells, 40)) + 1.5 * rng.normal(size=(10, 40))[label]
    hidden += 0.7 * rng.normal(size=(3, 40))[batch]
    vectors = hidden @ rng.normal(size=(40, dims)) + 0.5 * rng.normal(size=(cells, dims))
    return vectors.astype(np.float32), label, batch


def ours(vectors: Any, label: Any, batch: Any) -> tuple[dict[str, float], dict[str, float]]:
    seconds: dict[str, float] = {}
    values: dict[str, float] = {}
    rng = np.random.default_rng(0)
    near = timed(seconds, "neighbours", lambda: nearest_others(vectors, 90))
    graph = timed(seconds, "graph", lambda: clustering.umap_graph(near.first(14)))
    clusters = timed(seconds, "leiden_20_resolutions", lambda: clustering.clusters_at(graph))
    best = clustering.oracle_resolution(clusters, label)
    values["oracle_nmi"] = embedding_metrics.normalised_mutual_information(clusters[best], label)
    stability = timed(
        seconds,
        "label_free",
        lambda: clustering.label_free_stability(
            near,
            vectors,
            {r: clusters[r] for r in clustering.LABEL_FREE_RESOLUTIONS},
            rng,
        ),
    )
    values["label_free_resolution"] = clustering.label_free_resolution(stability)
    scores = timed(
        seconds,
        "scores",
        lambda: embedding_metrics.score_embedding(vectors, label, batch, near),
    )
    values |= scores.values
    fold = embedding_probes.stratified_folds(label, rng)
    knn = timed(
        seconds, "probe_knn15", lambda: embedding_probes.knn_predictions(vectors, label, fold)
    )
    linear = timed(
        seconds, "probe_linear", lambda: embedding_probes.linear_predictions(vectors, label, fold)
    )
    probe = timed(
        seconds,
        "probe_batch",
        lambda: embedding_probes.knn_batch_probe(vectors, batch, label, rng),
    )
    values["probe_knn15"] = embedding_probes.accuracy(label, knn)
    values["probe_linear"] = embedding_probes.accuracy(label, linear)
    values["probe_batch"] = probe.accuracy
    return seconds, values


def theirs(vectors: Any, label: Any, batch: Any) -> dict[str, Any] | None:
    try:
        import scib_metrics as sm
        from scib_metrics.nearest_neighbors import pynndescent
    except ImportError:
        return None
    seconds: dict[str, float] = {}
    values: dict[str, float] = {}
    reduced = principal_components(vectors, 50).astype(np.float32)
    near = timed(seconds, "neighbours_approximate", lambda: pynndescent(vectors, n_neighbors=90))
    near_15 = near.subset_neighbors(15)
    for name, call in (
        ("asw_label", lambda: sm.silhouette_label(vectors, label)),
        ("asw_batch", lambda: sm.silhouette_batch(reduced, label, batch)),
        ("bras", lambda: sm.bras(reduced, label, batch)),
        ("pcr_batch", lambda: sm.utils.principal_component_regression(
            vectors, batch, categorical=True, n_components=50)),
        ("ilisi_raw", lambda: sm.ilisi_knn(near, batch)),
        ("clisi", lambda: sm.clisi_knn(near, label)),
        ("nmi_ari_leiden", lambda: sm.nmi_ari_cluster_labels_leiden(near_15, label)["nmi"]),
    ):  # fmt: skip
        values[name] = float(timed(seconds, name, call))
    return {"version": sm.__version__, "seconds": seconds, "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=512)
    asked = parser.parse_args()
    ours(*make(300, 60))  # compile
    vectors, label, batch = make(asked.cells, asked.dims)
    before, spent = peak_mib(), time.process_time()
    seconds, values = ours(vectors, label, batch)
    spent = time.process_time() - spent
    result = {
        "cells": asked.cells,
        "dims": asked.dims,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "seconds": seconds,
        "seconds_in_all": round(sum(seconds.values()), 1),
        # On a busy machine the clock says little: of all processors together.
        "processor_seconds": round(spent, 1),
        "values": values,
        "peak_mib_before": round(before),
        "peak_mib": round(peak_mib()),
        "scib_metrics": theirs(vectors, label, batch),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
