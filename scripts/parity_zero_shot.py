"""Compute every value of the golden file of the zero-shot probe from its inputs.

    python scripts/parity_zero_shot.py IN.npz OUT.npz

Arrays are called SET::NAME. A set with `pca20` gets neighbours, graph, scores and probes, as far
as `label`, `batch`, `log_counts` and `fold` are there; clusters that it brings are scored, where
it brings none it gets our own. A set with `bins` gets the floors of reconstruction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from leadline.errors import UserError
from leadline.stats import clustering, embedding_metrics, embedding_probes, reconstruction
from leadline.stats.neighbours import nearest_others

RESOLUTIONS = (0.2, 0.5, 1.0, 2.0)
Values = dict[str, Any]


def put(values: Values, name: str, score: Callable[[], Any]) -> None:
    """Keep a value, or say why these inputs do not have it."""
    try:
        values[name] = score()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)


def stored_graph(given: Mapping[str, Any], n_cells: int) -> sp.csr_array | None:
    if not {"graph_indptr", "graph_indices", "graph_data"} <= set(given):
        return None
    data = given["graph_data"].astype(np.float64)
    indices = given["graph_indices"].astype(np.int64)
    return sp.csr_array((data, indices, given["graph_indptr"]), shape=(n_cells, n_cells))


def clusters_of(given: Mapping[str, Any], graph: sp.csr_array) -> dict[str, Any]:
    stored = {name[7:]: given[name] for name in given if name.startswith("leiden_")}
    return stored or {str(r): clustering.leiden_clusters(graph, r) for r in RESOLUTIONS}


def embedding(given: Mapping[str, Any]) -> Values:
    """Score one set that holds an embedding."""
    vectors, values = given["pca20"], {}
    near = nearest_others(vectors, 90)
    own = clustering.umap_graph(near.first(14))
    values["knn_index"], values["knn_distance"] = near.index_CK, near.distance_CK
    values["graph_indptr"], values["graph_indices"] = own.indptr, own.indices
    values["graph_data"] = own.data
    stored = stored_graph(given, len(vectors))
    graph = own if stored is None else stored
    label, batch = given.get("label"), given.get("batch")
    clusters = clusters_of(given, graph)
    for r, cluster in clusters.items():
        values[f"leiden_{r}"] = cluster
        own_cluster = clustering.leiden_clusters(graph, float(r))
        values[f"own_leiden_{r}"] = own_cluster
        values[f"value::own_modularity@{r}"] = clustering.modularity(graph, own_cluster, float(r))
        values[f"value::modularity@{r}"] = clustering.modularity(graph, cluster, float(r))
        if label is not None:
            for name, score in (
                ("nmi", embedding_metrics.normalised_mutual_information),
                ("ari", embedding_metrics.adjusted_rand_index),
                ("ami", embedding_metrics.adjusted_mutual_information),
            ):
                put(values, f"value::{name}@{r}", lambda s=score, c=cluster: s(c, label))
    if "log_counts" in given:
        covariate = given["log_counts"]
        put(
            values,
            "value::pcr_log_counts",
            lambda: embedding_metrics.pcr(vectors, covariate, categorical=False),
        )
    if label is not None:
        of_labels(values, given, graph, near)
    if batch is not None:
        of_batches(values, vectors, label, batch, near)
    return values


def of_labels(values: Values, given: Mapping[str, Any], graph: sp.csr_array, near: Any) -> None:
    vectors, label = given["pca20"], given["label"]
    put(values, "value::asw_label", lambda: embedding_metrics.asw_label(vectors, label))
    connectivity = embedding_metrics.graph_connectivity
    put(values, "value::graph_connectivity", lambda: connectivity(graph, label))
    directed = clustering.neighbour_graph(near.first(14))
    put(values, "value::graph_connectivity_knn15", lambda: connectivity(directed, label))
    for k in (89, 90):
        first = near.first(k)
        put(values, f"value::clisi_{k}_p30", lambda f=first: embedding_metrics.clisi(f, label))
    if "fold" in given:
        for name, predict in (
            ("knn15", embedding_probes.knn_predictions),
            ("linear", embedding_probes.linear_predictions),
        ):
            put(values, f"probe_{name}", lambda p=predict: of_codes(p, vectors, label, given))
            if f"probe_{name}" not in values:
                continue
            predicted = values[f"probe_{name}"]
            values[f"value::probe_{name}_accuracy"] = embedding_probes.accuracy(label, predicted)
            values[f"value::probe_{name}_macro_f1"] = embedding_probes.macro_f1(label, predicted)


def of_codes(predict: Any, vectors: Any, label: Any, given: Mapping[str, Any]) -> Any:
    # Predictions are codes of the sorted labels: turn them back into the labels given.
    return np.unique(label)[predict(vectors, label, given["fold"])]


def of_batches(values: Values, vectors: Any, label: Any, batch: Any, near: Any) -> None:
    put(values, "value::pcr_batch", lambda: embedding_metrics.pcr(vectors, batch))
    put(values, "value::kbet50_accept", lambda: embedding_metrics.kbet_acceptance(near, batch))
    for k in (89, 90):
        first = near.first(k)
        put(values, f"value::ilisi_{k}_p30", lambda f=first: embedding_metrics.ilisi(f, batch))
    if label is not None:
        put(values, "value::asw_batch", lambda: embedding_metrics.asw_batch(vectors, batch, label))
        put(values, "value::bras", lambda: embedding_metrics.bras(vectors, batch, label))


def floors(given: Mapping[str, Any]) -> Values:
    """Score one set that holds bins."""
    errors = reconstruction.floor_errors(given["bins"], given.get("fold"))
    return {f"value::{name}": value for name, value in errors.items()}


def main(in_path: str | Path, out_path: str | Path) -> None:
    with np.load(in_path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    sets: dict[str, Values] = {}
    for name, array in arrays.items():
        part, _, rest = name.partition("::")
        sets.setdefault(part, {})[rest] = array
    out: Values = {}
    for part, given in sets.items():
        values: Values = {}
        if "pca20" in given and len(given["pca20"]) > 1:
            values |= embedding(given)
        if "bins" in given:
            values |= floors(given)
        out |= {f"{part}::{name}": np.asarray(value) for name, value in values.items()}
    np.savez_compressed(out_path, **out)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except UserError as error:
        sys.exit(print(error, file=sys.stderr) or 2)
