"""Vectors of cells that no foundation model is needed for: the ladder that models must climb.

Each is told the cells and gives a vector for each; none sees a label. Harmony, an extra, is fitted
to the very cells and told their batches.

Shapes: C cells, G genes, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leadline.config.projections import (
    DepthConfig,
    HarmonyConfig,
    HvgConfig,
    NoiseConfig,
    PcaConfig,
    RandomProjectionConfig,
)
from leadline.data.cells import Cells, Scale
from leadline.data.cells.genes import chosen_genes
from leadline.errors import UserError
from leadline.models.base import EXPRESSION, GeneVectors, expression
from leadline.stats.embedding_inputs import principal_components
from leadline.stats.perturbation_floors import pca_of_control, random_vectors

Vectors = NDArray[np.float32]
ROWS_AT_A_TIME = 4096


class Noise:
    """Draws vectors that have nothing to do with the cells."""

    accepts = frozenset(Scale)

    def __init__(self, config: NoiseConfig, *, seed: int) -> None:
        self.config, self.seed = config, seed

    def embed(self, cells: Cells) -> Vectors:
        """Draw them."""
        rng = np.random.default_rng(self.seed)
        return rng.standard_normal((len(cells), self.config.width), dtype=np.float32)

    def embed_genes(self, control: Cells) -> GeneVectors:
        """Draw uniform vectors for genes, one draw for training and test genes alike."""
        drawn = random_vectors(len(control.genes), self.config.width, seed=self.seed)
        return GeneVectors(genes=control.genes.tolist(), vectors_GD=drawn)


class Depth:
    """How much was sequenced of a cell, and nothing else."""

    accepts = frozenset(Scale) - {Scale.ZSCORED}

    def __init__(self, config: DepthConfig) -> None:
        self.config = config

    def embed(self, cells: Cells) -> Vectors:
        """Give the logarithms of counts and detected genes; sums where counts are not known."""
        matrix_CG = cells.matrix_CG
        total_C = np.asarray(matrix_CG.sum(axis=1), dtype=np.float64).ravel()
        known_C = np.isfinite(cells.library_C) & (cells.library_C > 0)
        total_C = np.where(known_C.all(), cells.library_C, total_C)
        genes_C = np.diff(matrix_CG.indptr)
        both = np.stack([np.log1p(np.maximum(total_C, 0)), np.log1p(genes_C)], axis=1)
        return both.astype(np.float32)


class Hvg:
    """The expression of the genes that vary most among these cells."""

    accepts = EXPRESSION

    def __init__(self, config: HvgConfig) -> None:
        self.config = config

    def embed(self, cells: Cells) -> Vectors:
        """Give their dense matrix."""
        return variable_expression(cells, self.config)


class RandomProjection:
    """Variable genes under a random matrix: width without knowledge."""

    accepts = EXPRESSION

    def __init__(self, config: RandomProjectionConfig, *, seed: int) -> None:
        self.config, self.seed = config, seed

    def embed(self, cells: Cells) -> Vectors:
        """Project, in double precision, with entries of variance 1/width."""
        dense_CG = variable_expression(cells, self.config)
        width = self.config.width
        rng = np.random.default_rng(self.seed)
        matrix_GD = rng.standard_normal((dense_CG.shape[1], width)) / np.sqrt(width)
        blocks = range(0, len(dense_CG), ROWS_AT_A_TIME)
        parts = [dense_CG[i : i + ROWS_AT_A_TIME].astype(np.float64) @ matrix_GD for i in blocks]
        return np.concatenate(parts).astype(np.float32)


class Pca:
    """The first principal components of these cells."""

    accepts = EXPRESSION

    def __init__(self, config: PcaConfig) -> None:
        self.config = config

    def embed(self, cells: Cells) -> Vectors:
        """Centre and rotate variable genes; nothing is scaled."""
        dense_CG = variable_expression(cells, self.config)
        return principal_components(dense_CG, self.config.components).astype(np.float32)

    def embed_genes(self, control: Cells) -> GeneVectors:
        """Give the scaled loadings of each gene, of all genes: none is chosen by its variance."""
        loadings = pca_of_control(expression(control, self.config.input), self.config.components)
        return GeneVectors(genes=control.genes.tolist(), vectors_GD=loadings)


class Harmony:
    """Principal components that Harmony moves until batches mix."""

    accepts = EXPRESSION

    def __init__(self, config: HarmonyConfig) -> None:
        self.config = config

    def embed(self, cells: Cells) -> Vectors:
        """Run harmonypy, an extra; it is told the batch, which no model of the ladder is."""
        if cells.batch_C is None:
            raise UserError(
                "model=harmony mixes batches", got="no data.batch", remedy="name their column"
            )
        try:
            import harmonypy  # type: ignore[import-not-found]
        except ImportError as error:
            raise UserError(
                "model=harmony needs the package harmonypy",
                got="an environment without it",
                remedy='pip install "leadline[harmony]", or bring its output as model=embedding',
            ) from error
        import pandas as pd

        found = Pca(self.config).embed(cells).astype(np.float64)
        about = pd.DataFrame({"batch": cells.batch_C})
        moved = harmonypy.run_harmony(
            found, about, ["batch"], theta=self.config.theta, random_state=0, verbose=False
        )
        corrected = np.asarray(moved.Z_corr, dtype=np.float32)
        return np.ascontiguousarray(corrected if len(corrected) == len(found) else corrected.T)


def variable_expression(cells: Cells, config: HvgConfig) -> Vectors:
    """Give log-normalised expression of the most variable genes, dense; all, if there are few."""
    matrix_CG = expression(cells, config.input)
    if len(cells.genes) > config.genes:
        matrix_CG = matrix_CG[:, chosen_genes(cells, config.genes, config.flavour)]
    dense: Vectors = np.ascontiguousarray(matrix_CG.toarray(), dtype=np.float32)
    return dense
