"""Every choice of the protocol that is open to doubt, one row each: the only list of switches.

A switch has named values, and each value is settings of a run. A study varies switches with its key
`choices` (docs/multiverse.md); presets such as `paper_code` are nothing but values of switches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from leadline.config.registry import ROWS as MODELS
from leadline.errors import UserError, nearest

# The value that sets nothing: whatever the study says.
AS_SET = "as_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSwitch:
    """One choice of the protocol.

    `values` holds the settings of each value, by name; where `number_at` is a setting, any number
    is a value too. `better` is the better value where the tag is N, and `why` says so in one
    line. `discrepancies` are the entries of the paper's list that it realises. `models` are those
    that it concerns, by name or kind (`network`, `estimator`); none listed means all. A switch of
    the `analysis` sets nothing: it is applied to predictions that are there. One of the
    `pretraining` is a matter of the run that others start from. `parts_cells` says that it
    changes which cells are reported on.
    """

    title: str
    values: Mapping[str, Mapping[str, Any]]
    tag: Literal["E", "N", "U"]
    why: str
    better: str = ""
    discrepancies: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    where: Literal["run", "analysis", "pretraining"] = "run"
    number_at: str = ""
    parts_cells: bool = False
    paths: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        paths = {path for settings in self.values.values() for path in settings}
        object.__setattr__(self, "paths", frozenset(paths))

    def concerns(self, model: str) -> bool:
        """Say whether a model reads what the switch sets."""
        kind = MODELS[model].kind if model in MODELS else "external"
        return not self.models or model in self.models or kind in self.models

    def settings(self, value: str) -> Mapping[str, Any]:
        """Give the settings of a value."""
        if value in self.values:
            return self.values[value]
        return {self.number_at: float(value) if set(value) & set(".e") else int(value)}

    def knows(self, value: str) -> bool:
        """Say whether a text is one of the values."""
        if value in self.values:
            return True
        try:
            return bool(self.number_at) and float(value) >= 0
        except ValueError:
            return False


def protocol(key: str, /, **values: Any) -> dict[str, dict[str, Any]]:
    """Give each value as one setting of the protocol."""
    return {name: {f"protocol.{key}": value} for name, value in values.items()}


def one(path: str, /, **values: Any) -> dict[str, dict[str, Any]]:
    """Give each value as one setting."""
    return {name: {path: value} for name, value in values.items()}


def words(*values: str) -> dict[str, dict[str, Any]]:
    """Give the values of a switch of the analysis."""
    return {value: {} for value in values}


ROWS: dict[str, ProtocolSwitch] = {
    # --- cells ------------------------------------------------------------------------------
    "selection": ProtocolSwitch(
        title="cells on which the epoch is chosen",
        values=protocol(
            "selection",
            reported="reported",
            held_out="holdout_stratified",
            held_out_plain="holdout",
            held_out_scgpt="holdout_scgpt",
            none="none",
        ),
        tag="N",
        better="held_out",
        why="an epoch chosen on the reported cells flatters the network, and no baseline",
        discrepancies=("D24", "D31"),
        models=("network",),
    ),
    "baseline_cells": ProtocolSwitch(
        title="cells that baselines are fitted on",
        values=protocol("baseline_cells", labelled="labelled", train="train"),
        tag="E",
        why="all labelled cells, or those that are left to a network after its selection",
        discrepancies=("D27",),
        models=("estimator",),
    ),
    "few_labels": ProtocolSwitch(
        title="how the labelled share is drawn",
        values=protocol(
            "fewshot",
            nested="stratified_nested",
            stratified="stratified",
            plain="random",
            plain_stream="random_stream",
        ),
        tag="E",
        why="each is a draw of so many cells; plain ones may miss a rare class",
        discrepancies=("D09", "D10", "D14", "D15", "D16"),
    ),
    "split_seed": ProtocolSwitch(
        title="seed of the split",
        values=one("protocol.split_seed", **{"2022": 2022, "2021": 2021}),
        tag="E",
        why="any reported cells are as good as others",
        discrepancies=("D22",),
        number_at="protocol.split_seed",
        parts_cells=True,
    ),
    "unseen_classes": ProtocolSwitch(
        title="reported classes without training cells",
        values=protocol("unseen_classes", keep="keep", refuse="refuse"),
        tag="N",
        better="refuse",
        why="such cells are errors of every model, which says nothing of any",
        discrepancies=("D54",),
    ),
    "duplicates": ProtocolSwitch(
        title="training cells equal to reported ones",
        values=protocol("duplicates", warn="warn", drop="drop", refuse="refuse"),
        tag="N",
        better="drop",
        why="a copy of a reported cell gives its label away",
    ),
    # --- training ---------------------------------------------------------------------------
    "select_by": ProtocolSwitch(
        title="score that chooses the epoch",
        values=protocol("select_by", accuracy="accuracy", loss="loss", macro_f1="macro_f1"),
        tag="E",
        why="all are in use, and the text and the code of the paper differ",
        discrepancies=("D06",),
        models=("network",),
    ),
    "class_weights": ProtocolSwitch(
        title="weights of classes in the loss",
        values=protocol("class_weights", none="none", training="train", all="whole"),
        tag="N",
        better="none",
        why="weights change what is aimed at, the baseline has none, and those of all cells know "
        "the reported labels",
        discrepancies=("D25",),
        models=("network",),
    ),
    "baseline_class_weights": ProtocolSwitch(
        title="weights of classes in logistic regression",
        values=one("model.class_weight", none="none", balanced="balanced"),
        tag="E",
        why="balanced ones aim at macro-F1 as the weighted networks do",
        discrepancies=("D25",),
        models=("logreg",),
    ),
    "order": ProtocolSwitch(
        title="order of the training cells",
        values=protocol(
            "order", shuffled="shuffled", fixed="fixed", with_replacement="replacement"
        ),
        tag="N",
        better="shuffled",
        why="one order for all epochs is one gradient sequence; with replacement an epoch misses a "
        "third of the cells",
        discrepancies=("D30",),
        models=("network",),
    ),
    "named_classes": ProtocolSwitch(
        title="classes that a network can name",
        values=protocol("named_classes", trained="trained", all="all"),
        tag="E",
        why="with few labels a network may or may not know that a class exists",
        discrepancies=("D63",),
        models=("network",),
    ),
    "schedule": ProtocolSwitch(
        title="learning rate over the epochs",
        values={
            "as_coded": {"train.schedule": "scbert_cosine_restarts"},
            "as_said": {"train.schedule": "constant"},
            "step": {"train.schedule": "step"},
        },
        tag="U",
        why="the text gives one rate; the code warms up over half of the epochs",
        discrepancies=("D20",),
        models=("network",),
    ),
    "epochs": ProtocolSwitch(
        title="epochs of training",
        values=one("train.epochs", **{"10": 10, "20": 20, "30": 30, "100": 100}),
        tag="U",
        why="fixed epochs are few steps where labels are few; tutorial, text and code differ",
        discrepancies=("D23", "D28", "D59"),
        models=("network",),
        number_at="train.epochs",
    ),
    "patience": ProtocolSwitch(
        title="epochs without gain after which training stops",
        values=one("train.patience", **{"0": 0, "11": 11}),
        tag="E",
        why="0 never stops; the best epoch is kept either way",
        discrepancies=("D23",),
        models=("network",),
        number_at="train.patience",
    ),
    "batch": ProtocolSwitch(
        title="cells in a step of scBERT",
        values={
            "32": {"train.batch_size": 32, "train.eps": 1e-8, "train.micro_batch": "auto"},
            # Added losses, not averaged: docs/scbert.md.
            "3x60": {
                "train.batch_size": 180,
                "train.eps": 1.6666666666666667e-10,
                "train.micro_batch": "3",
            },
            AS_SET: {},
        },
        tag="U",
        why="fewer and larger steps at the same rate",
        discrepancies=("D23",),
        models=("scbert",),
    ),
    "warm_up": ProtocolSwitch(
        title="epochs over which the learning rate rises",
        values=one("train.warmup_epochs", **{"0": 0, "1": 1}),
        tag="U",
        why="transformers that normalise after each part collapse more often without",
        discrepancies=("D05",),
        models=("network",),
        number_at="train.warmup_epochs",
    ),
    "trainable_block": ProtocolSwitch(
        title="what of scBERT is trained",
        values=one(
            "train.freeze",
            last="paper",
            last_but_one="original",
            head_alone="all_but_head",
            all="none",
        ),
        tag="U",
        why="the paper unfreezes another block than the model’s authors, and its text a third",
        discrepancies=("D21", "D26"),
        models=("scbert",),
    ),
    "frozen": ProtocolSwitch(
        title="what “freeze” keeps of scGPT",
        values=one(
            "train.freeze", nothing="none", as_done="paper_pre_decoder", as_named="transformer_too"
        ),
        tag="U",
        why="the text freezes all before the decoders, the code embeddings alone",
        discrepancies=("D03",),
        models=("scgpt",),
    ),
    # --- parts of one model -----------------------------------------------------------------
    "stabiliser": ProtocolSwitch(
        title="what scBERT’s attention scales keys by",
        values=one("model.stabiliser", head="head", batch="batch"),
        tag="N",
        better="head",
        why="with batch, what is said of a cell depends on the cells beside it",
        discrepancies=("D08",),
        models=("scbert",),
    ),
    "redraw": ProtocolSwitch(
        title="steps between two draws of random projections",
        values=one("train.redraw_every", **{"1000": 1000, "0": 0}),
        tag="U",
        why="a redraw changes layers that are called frozen; 0 never redraws",
        discrepancies=("D42",),
        models=("scbert",),
        number_at="train.redraw_every",
    ),
    "gene_identity": ProtocolSwitch(
        title="what tells genes apart in scBERT",
        values={AS_SET: {}, "random": {"model.gene2vec": "random"}},
        tag="U",
        why="“without pretraining” keeps gene2vec, which is pretrained as well",
        discrepancies=("D26",),
        models=("scbert",),
    ),
    "ties": ProtocolSwitch(
        title="bin of a value that equals several edges",
        values=one("model.ties", middle="middle", random="random"),
        tag="E",
        why="by chance as in the original, or equal tokens for equal values",
        discrepancies=("D31",),
        models=("scgpt",),
    ),
    "attention_start": ProtocolSwitch(
        title="first weights of scGPT’s attention",
        values=one("model.attention_start", xavier="xavier", linear="linear"),
        tag="E",
        why="two libraries, two usual ways to draw them",
        discrepancies=("D62",),
        models=("scgpt",),
    ),
    "test_genes": ProtocolSwitch(
        title="names of the genes of the test file",
        values={
            "own": {"data.test_genes": "own"},
            "training": {"data.test_genes": "training"},
        },
        tag="N",
        better="own",
        why="the scripts take the genes of two files place by place",
        discrepancies=("D61",),
    ),
    # --- logistic regression ----------------------------------------------------------------
    "regularisation": ProtocolSwitch(
        title="C of logistic regression",
        values={
            "fixed": {"protocol.regularisation": "published"},
            "cross_validated": {"protocol.regularisation": "cross_validated"},
        },
        tag="U",
        why="fixed (0.1) on PBMC in the code, by cross-validation in the text",
        discrepancies=("D13",),
        models=("logreg",),
    ),
    "solver": ProtocolSwitch(
        title="solver of logistic regression",
        values=one("model.solver", path="path", liblinear="liblinear"),
        tag="N",
        better="path",
        why="the path has a certificate; liblinear stops far from the optimum above C = 10",
        discrepancies=("D57",),
        models=("logreg",),
    ),
    "one_vs_rest": ProtocolSwitch(
        title="random numbers of liblinear",
        values=one("model.one_vs_rest", separate="separate", one_stream="one_stream"),
        tag="E",
        why="two versions of one library",
        discrepancies=("D60",),
        models=("logreg",),
    ),
    "C_grid": ProtocolSwitch(
        title="values of C that are tried",
        values=one(
            "model.grid",
            wide=[0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000],
            to_1=[0.001, 0.01, 0.1, 1],
        ),
        tag="E",
        why="the paper’s notebooks and scripts use either",
        discrepancies=("D57",),
        models=("logreg",),
    ),
    "baseline_input": ProtocolSwitch(
        title="scale that logistic regression reads",
        values=one("model.input", as_given="as_given", ln="ln_cp10k", log2="log2_cp10k"),
        tag="E",
        why="a logarithm is a logarithm, but L1 sees its base",
        discrepancies=("D27", "D57"),
        models=("logreg",),
    ),
    # --- pretraining ------------------------------------------------------------------------
    "pretraining_epochs": ProtocolSwitch(
        title="epochs of pretraining",
        values=one("train.epochs", **{"6": 6, "17": 17, "100": 100}),
        tag="N",
        better="17",
        why="with and without gene2vec must be pretrained alike: 17 is what the text says of both",
        discrepancies=("D01", "D40"),
        where="pretraining",
    ),
    "pretraining_order": ProtocolSwitch(
        title="order of the cells in pretraining",
        values=protocol("order", shuffled="shuffled", with_replacement="replacement"),
        tag="N",
        better="shuffled",
        why="with replacement, seeds do not decide what is seen",
        discrepancies=("D39",),
        where="pretraining",
    ),
    # --- analysis ---------------------------------------------------------------------------
    "test": ProtocolSwitch(
        title="test of two arms",
        values=words("student", "welch", "mann_whitney", "permutation", "crossed"),
        tag="N",
        better="crossed",
        why="the others are about the same cells alone",
        discrepancies=("D07", "D12"),
        where="analysis",
    ),
    "paired": ProtocolSwitch(
        title="runs of one seed as a pair",
        values=words("no", "yes"),
        tag="E",
        why="seeds share subsets and first weights of the head, but not much else",
        discrepancies=("D12", "D15"),
        where="analysis",
    ),
    "ddof": ProtocolSwitch(
        title="what a sum of squares is divided by: n - ddof",
        values=words("0", "1"),
        tag="N",
        better="1",
        why="with 0 intervals of ten runs are 5 % too narrow",
        discrepancies=("D11",),
        where="analysis",
    ),
    "replicate": ProtocolSwitch(
        title="what counts as a replicate",
        values=words("fit", "subset"),
        tag="N",
        better="subset",
        why="fits of one convex problem on the same cells are one result, not ten",
        discrepancies=("D16", "D52"),
        where="analysis",
    ),
    "seeds": ProtocolSwitch(
        title="which runs count",
        values=words("all", "dedicated", "not_collapsed"),
        tag="U",
        why="runs of another script, in another order, or that name one class",
        discrepancies=("D05", "D09", "D17", "D43", "D44"),
        where="analysis",
    ),
    "hard_f1": ProtocolSwitch(
        title="cells of the F1 of the hard classes",
        values=words("all_cells", "hard_cells"),
        tag="N",
        better="hard_cells",
        why="accuracy beside it is over cells of these classes alone",
        discrepancies=("D32",),
        where="analysis",
    ),
    "metric_labels": ProtocolSwitch(
        title="classes of a macro average",
        values=protocol("metric_labels", truth="truth", observed="observed", all="all"),
        tag="N",
        better="truth",
        why="with observed, models are averaged over different classes",
        discrepancies=("D49",),
        where="analysis",
    ),
}


def find(name: str) -> ProtocolSwitch:
    """Give a switch by its name."""
    if name not in ROWS:
        raise UserError(
            "a switch must be one that leadline knows",
            got=repr(name),
            remedy=f"{nearest(name, ROWS)}; leadline protocols lists them",
        )
    return ROWS[name]
