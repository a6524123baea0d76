"""From the words of the paper's notebooks to the names of our configuration."""

from __future__ import annotations

DATASETS = {
    "PBMC Zheng68K": "zheng68k",
    "multiple sclerosis": "ms",
    "myeloid": "myeloid",
    "pancreas": "pancreas",
    "Panglao": "panglao",
    "MacParland liver": "macparland",
    "MacParland liver (15 classes)": "macparland_merged",
    "MacParland liver (merged hepatocytes, 15 classes)": "macparland_merged",
    "MacParland liver (unmerged, 20 classes)": "macparland_unmerged",
    # Rows of the prose that name a model where the dataset stands.
    "scGPT": "",
}

MODELS = {
    "scBERT": "scbert",
    "scBERT pretraining": "scbert",
    "scGPT": "scgpt",
    "logistic regression": "logreg",
    "scBERT vs LR": "scbert vs logreg",
    "scGPT vs LR": "scgpt vs logreg",
    "competing method in scBERT paper": "competitor",
    "data": "data",
    "": "",
}

ARMS = {
    "finetune": "reference",
    "reproduced (finetune)": "reference",
    "few-shot finetune": "reference",
    "pretrained finetune": "reference",
    "full data": "reference",
    "few-shot": "reference",
    "scGPT (pre-trained)": "reference",
    "with gene2vec": "reference",
    "full scBERT (with gene2vec)": "reference",
    "no_gene2vec": "no_gene2vec",
    "no gene2vec": "no_gene2vec",
    "no_pretraining": "no_pretraining",
    "no pre-training (all trainable)": "no_pretraining",
    "scGPT no pre-training (all trainable)": "no_pretraining",
    "no pre-training (embeddings frozen)": "no_pretraining_frozen",
    "scGPT no pre-training (freeze weights)": "no_pretraining_frozen",
    "reported in original publication": "original_publication",
    "from-scratch (original authors)": "original_publication_from_scratch",
    "finetune vs no_gene2vec": "reference vs no_gene2vec",
    "finetune vs no_pretraining": "reference vs no_pretraining",
    "pre-trained vs scGPT no pre-training (all trainable)": "reference vs no_pretraining",
    "pre-trained vs scGPT no pre-training (freeze weights)": "reference vs no_pretraining_frozen",
}

# Variants of logistic regression that are the reported baseline, not a search for C.
BASELINES = (
    "L1 C=0.1 liblinear",
    "L1 C=0.1",
    "L1, C by CV",
    "few-shot",
    "full data",
)


def arm(model: str, variant: str, artefact: str) -> str:
    """Name the arm of a row as a study would."""
    if model.endswith(" vs LR"):
        return "reference vs logreg"
    # Figure 3 shows ten runs; a log prints five of them again, which must not count twice.
    printed_again = artefact == "Figure 3" and variant.startswith("few-shot ")
    suffix = " (printed log)" if printed_again else ""
    if model != "logistic regression":
        return ARMS.get(variant, variant) + suffix
    tried = artefact.startswith(("C selection", "pilot")) or artefact.endswith("(older notebook)")
    if not tried and (variant in BASELINES or variant.endswith("(by CV)") or printed_again):
        return "logreg" + suffix
    return f"logreg {variant}"


def split(dataset: str, model: str, metric: str) -> tuple[str, str]:
    """Name the set a number was computed on, and the metric without that set in its name."""
    for prefix, name in (("train_", "train"), ("cv_", "cross_validation")):
        if metric.startswith(prefix):
            return name, metric.removeprefix(prefix)
    if model in ("data", "") or dataset == "":
        return "", metric
    return ("test" if dataset in ("ms", "myeloid", "pancreas") else "validation"), metric
