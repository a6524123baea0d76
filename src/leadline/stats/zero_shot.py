"""All scores of one frozen embedding, and the draws that their intervals are made of.

Every score of `docs/zero_shot_metrics.md` from vectors, labels and batches alone. Scores of graphs
and clusters are drawn again on halves of the cells, without replacement: on a bootstrap with
replacement copies would be each other's neighbours. All others are means over cells, which are
given cell by cell. Halves and folds follow from the seed and the number of cells, so that two
embeddings of the same cells are compared pair by pair.

Shapes: C cells, D dimensions, G genes, R clusterings, S halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from leadline.errors import UserError
from leadline.stats import clustering, embedding_metrics, embedding_probes
from leadline.stats.embedding_inputs import (
    Codes,
    Floats,
    checked_codes,
    checked_vectors,
    require_groups,
)
from leadline.stats.embedding_metrics import LISI_NEIGHBOURS, Scores
from leadline.stats.neighbours import Neighbours, nearest_others, neighbours_within
from leadline.stats.partitions import (
    adjusted_mutual_information,
    adjusted_rand_index,
    normalised_mutual_information,
)
from leadline.stats.silhouettes import silhouettes

FEWEST_CELLS = 20
# How the resolution of the clustering is chosen: by the labels, not at all, by stability.
RULES = ("oracle", "fixed", "label_free")
FIXED = 1.0
# The scores that arms are compared by; the others stand beside them.
HEADLINE = ("avg_bio_oracle", "avg_bio_label_free", "linear_accuracy", "batch_probe_accuracy")


@dataclass(frozen=True, slots=True)
class FrozenScores:
    """Scores by name, why others are not defined, and what intervals are made of.

    Attributes
    ----------
    halves
        Score → its value on each half of the cells, shape (S,).
    cells
        Score → what each cell adds to it, shape (C,); nan for a cell that was not asked.
    clusterings
        Score → its value under each seed of the clustering, shape (R,).
    resolutions
        Rule → the resolution that it chose, averaged over the seeds.
    """

    values: Mapping[str, float]
    undefined: Mapping[str, str]
    halves: Mapping[str, Floats] = field(default_factory=dict)
    cells: Mapping[str, Floats] = field(default_factory=dict)
    clusterings: Mapping[str, Floats] = field(default_factory=dict)
    resolutions: Mapping[str, float] = field(default_factory=dict)


def score_frozen(
    vectors_CD: npt.ArrayLike,
    label_C: npt.ArrayLike,
    batch_C: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
    by_batch: bool = False,
    n_clusterings: int = 5,
    n_halves: int = 20,
    pcr_before: float | None = None,
) -> FrozenScores:
    """Give every score of an embedding.

    `by_batch` keeps each batch in one fold of the probes. `pcr_before` is the share of variance
    that the batch explains of the expression itself.
    """
    vectors = checked_vectors(vectors_CD, minimum=FEWEST_CELLS)
    label = checked_codes(label_C, len(vectors))
    batch = None if batch_C is None else checked_codes(batch_C, len(vectors), "batch")
    near = nearest_others(vectors, LISI_NEIGHBOURS)
    scores = embedding_metrics.score_embedding(vectors, label, batch, near)
    cells: dict[str, Floats] = {}
    _add_silhouettes(cells, vectors, label)
    clusters = _Clusters(vectors, label, near, seed, n_clusterings)
    clusters.add_to(scores)
    halves = _on_halves(vectors, label, near, cells.get("asw_label"), clusters, seed, n_halves)
    _add_lisi(cells, near, label, batch)
    _add_probes(scores, cells, vectors, label, batch, seed, by_batch=by_batch)
    if batch is not None:
        _add_batch_comparison(scores, pcr_before)
    return FrozenScores(
        values=scores.values,
        undefined=scores.undefined,
        halves=halves,
        cells=cells,
        clusterings=clusters.per_seed,
        resolutions=clusters.resolutions,
    )


def pcr_of_expression(matrix_CG: sp.csr_array, batch_C: npt.ArrayLike) -> float:
    """Share of the variance of a sparse matrix that lies between batches, all genes together."""
    batch = checked_codes(batch_C, matrix_CG.shape[0], "batch")
    n_batches = require_groups(batch, "PCR", "batches")
    size_B = np.bincount(batch, minlength=n_batches).astype(np.float64)
    member = sp.csr_array(
        (np.ones(len(batch)), (batch, np.arange(len(batch)))), shape=(n_batches, len(batch))
    )
    sum_BG = np.asarray((member @ matrix_CG.astype(np.float64)).todense())
    mean_G = sum_BG.sum(axis=0) / len(batch)
    middle = len(batch) * float(mean_G @ mean_G)
    total = float((matrix_CG.data.astype(np.float64) ** 2).sum()) - middle
    between = float(((sum_BG**2) / size_B[:, None]).sum()) - middle
    if not total > 0:
        raise UserError(
            "PCR needs expression that varies", got="equal cells", remedy="look at the file"
        )
    return min(1.0, max(0.0, between / total))


class _Clusters:
    """The clusterings of all cells, scored under each rule and seed."""

    def __init__(
        self, vectors: Floats, label: Codes, near: Neighbours, seed: int, n_seeds: int
    ) -> None:
        graph = clustering.umap_graph(near.first(clustering.GRAPH_NEIGHBOURS))
        every = [clustering.clusters_at(graph, seed=at) for at in range(n_seeds)]
        self.why_unstable = ""
        try:
            steady = {r: every[0][r] for r in clustering.LABEL_FREE_RESOLUTIONS}
            rng = np.random.default_rng([seed, 1])
            stability = clustering.label_free_stability(near, vectors, steady, rng)
            self.stable: float | None = clustering.label_free_resolution(stability)
        except UserError as error:
            self.stable, self.why_unstable = None, str(error)
        self.per_seed: dict[str, Floats] = {}
        chosen: dict[str, list[float]] = {}
        told: dict[str, list[float]] = {}
        for clusters in every:
            for rule, resolution in self.rules(clusters, label).items():
                chosen.setdefault(rule, []).append(resolution)
                for name, value in _agreement(clusters[resolution], label).items():
                    told.setdefault(f"{name}_{rule}", []).append(value)
        self.per_seed = {name: np.array(values) for name, values in told.items()}
        self.resolutions = {rule: float(np.mean(values)) for rule, values in chosen.items()}

    def rules(self, clusters: Mapping[float, Codes], label: Codes) -> dict[str, float]:
        """Give the resolution of each rule that has one."""
        found = {"oracle": clustering.oracle_resolution(clusters, label), "fixed": FIXED}
        return found if self.stable is None else found | {"label_free": self.stable}

    def add_to(self, scores: Scores) -> None:
        """Average over seeds; AvgBIO needs the silhouette too, and says so where there is none."""
        for name, values in self.per_seed.items():
            scores.values[name] = float(values.mean())
        for rule in RULES:
            if rule not in self.resolutions:
                scores.undefined[f"avg_bio_{rule}"] = self.why_unstable
            elif "asw_label" not in scores.values:
                scores.undefined[f"avg_bio_{rule}"] = scores.undefined["asw_label"]
            else:
                scores.values[f"avg_bio_{rule}"] = embedding_metrics.avg_bio(
                    scores.values[f"nmi_{rule}"],
                    scores.values[f"ari_{rule}"],
                    scores.values["asw_label"],
                )


def _agreement(cluster_C: Codes, label_C: Codes) -> dict[str, float]:
    return {
        "nmi": normalised_mutual_information(cluster_C, label_C),
        "ari": adjusted_rand_index(cluster_C, label_C),
        "ami": adjusted_mutual_information(cluster_C, label_C),
    }


def _add_silhouettes(cells: dict[str, Floats], vectors: Floats, label: Codes) -> None:
    n_labels = int(label.max()) + 1
    # As ASW label itself: two labels, and one of them with two cells.
    if 1 < n_labels < len(label):
        cells["asw_label"] = (silhouettes(vectors, label) + 1) / 2


def _on_halves(
    vectors: Floats,
    label: Codes,
    near: Neighbours,
    silhouette_C: Floats | None,
    clusters: _Clusters,
    seed: int,
    n_halves: int,
) -> dict[str, Floats]:
    """Score halves of the cells; the label-free resolution stays that of all cells."""
    rng = np.random.default_rng([seed, 2])
    told: dict[str, list[float]] = {}
    wanted = clustering.ORACLE_RESOLUTIONS
    for _ in range(n_halves):
        kept = np.sort(rng.choice(len(label), max(2, len(label) // 2), replace=False))
        graph = clustering.umap_graph(
            neighbours_within(near, kept, clustering.GRAPH_NEIGHBOURS, vectors)
        )
        found = clustering.clusters_at(graph, wanted)
        asw = None if silhouette_C is None else float(silhouette_C[kept].mean())
        for rule, resolution in clusters.rules(found, label[kept]).items():
            agreed = _agreement(found[resolution], label[kept])
            for name, value in agreed.items():
                told.setdefault(f"{name}_{rule}", []).append(value)
            if asw is not None:
                bio = embedding_metrics.avg_bio(agreed["nmi"], agreed["ari"], asw)
                told.setdefault(f"avg_bio_{rule}", []).append(bio)
        connected = embedding_metrics.graph_connectivity(graph, label[kept])
        told.setdefault("graph_connectivity", []).append(connected)
    return {name: np.array(values) for name, values in told.items()}


def _add_lisi(
    cells: dict[str, Floats], near: Neighbours, label: Codes, batch: Codes | None
) -> None:
    for name, group in (("clisi", label), ("ilisi_raw", batch)):
        if group is not None and int(group.max()) > 0:
            cells[name] = embedding_metrics.lisi(near, group)


def _add_probes(
    scores: Scores,
    cells: dict[str, Floats],
    vectors: Floats,
    label: Codes,
    batch: Codes | None,
    seed: int,
    *,
    by_batch: bool,
) -> None:
    """Predict labels out of fold, labels of each batch from the others, and batches."""
    probes = {
        "knn": embedding_probes.knn_predictions,
        "linear": embedding_probes.linear_predictions,
    }

    def ask(suffix: str, fold: Codes) -> None:
        for name, predict in probes.items():
            predicted = predict(vectors, label, fold)
            hit = predicted == label
            scores.values[f"{name}{suffix}_accuracy"] = float(hit.mean())
            scores.values[f"{name}{suffix}_macro_f1"] = embedding_probes.macro_f1(label, predicted)
            cells[f"{name}{suffix}_accuracy"] = hit.astype(np.float64)

    def folds() -> Codes:
        require_groups(label, "a probe of labels", "labels")
        rng = np.random.default_rng([seed, 3])
        if by_batch:
            if batch is None:
                raise UserError(
                    "folds by batch need batches",
                    got="no data.batch",
                    remedy="name their column, or use task_settings.folds=stratified",
                )
            return embedding_probes.donor_folds(batch, rng)
        return embedding_probes.stratified_folds(label, rng)

    _attempt(scores, ("knn_accuracy", "linear_accuracy"), lambda: ask("", folds()))
    if batch is None:
        return
    _attempt(
        scores,
        ("knn_new_batch_accuracy", "linear_new_batch_accuracy"),
        lambda: ask("_new_batch", _left_out(label, batch)),
    )

    def tell_batch() -> None:
        rng = np.random.default_rng([seed, 4])
        found = embedding_probes.knn_batch_probe(vectors, batch, label, rng)
        scores.values["batch_probe_accuracy"] = found.accuracy
        scores.values["batch_probe_majority"] = found.majority
        asked = np.full(len(label), np.nan)
        asked[found.cells] = found.hit
        cells["batch_probe_accuracy"] = asked
        scores.add("batch_probe_excess", lambda: found.excess)

    _attempt(scores, ("batch_probe_accuracy",), tell_batch)


def _left_out(label: Codes, batch: Codes) -> Codes:
    require_groups(label, "a probe of labels", "labels")
    return embedding_probes.leave_one_batch_out(batch)


def _attempt(scores: Scores, names: tuple[str, ...], call: Callable[[], None]) -> None:
    try:
        call()
    except UserError as error:
        for name in names:
            scores.undefined[name] = str(error)


def _add_batch_comparison(scores: Scores, pcr_before: float | None) -> None:
    """Compare PCR with that of the expression, and average as the publication's prose does."""
    if pcr_before is None or "pcr_batch" not in scores.values:
        return
    after = scores.values["pcr_batch"]
    scores.add("pcr_comparison", lambda: embedding_metrics.pcr_comparison(pcr_before, after))
    if {"pcr_comparison", "asw_batch"} <= set(scores.values):
        scores.values["avg_batch"] = embedding_metrics.avg_batch(
            scores.values["asw_batch"], scores.values["pcr_comparison"]
        )
