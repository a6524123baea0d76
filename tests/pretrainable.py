"""A small network that can be pretrained: the spine's stand-in for scBERT and scGPT."""

import torch
from torch import nn

from leadline.models.network import as_tensor
from leadline.models.scbert.pretraining import MaskedBins, published_layout
from leadline.models.scbert.tokens import ACCEPTED, N_TOKENS, tokenise


class Bag(nn.Module):
    """Names a hidden bin from the gene and the mean of what shows."""

    def __init__(self, length, width=16):
        super().__init__()
        self.token = nn.Embedding(N_TOKENS, width)
        self.gene = nn.Embedding(length, width)
        self.mixing = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.to_out = nn.Linear(width, N_TOKENS)

    def forward(self, tokens_BL):
        x_BLW = self.token(tokens_BL.long()) + self.gene.weight
        return x_BLW + self.mixing(x_BLW.mean(dim=1, keepdim=True))


class Histogram(nn.Module):
    """The same without genes, evaluated once for each token."""

    def __init__(self, width=16):
        super().__init__()
        self.token = nn.Embedding(N_TOKENS, width)
        self.mixing = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.to_out = nn.Linear(width, N_TOKENS)

    def forward(self, counts_BT):
        share_BT = counts_BT / counts_BT.sum(dim=1, keepdim=True)
        mean_BW = share_BT.float() @ self.token.weight
        return self.token.weight + self.mixing(mean_BW)[:, None]


class Fake(MaskedBins):
    accepts = ACCEPTED

    def __init__(self, collapsed=False):
        self.collapsed_ = collapsed

    @property
    def collapsed(self):
        return self.collapsed_

    def tokens(self, cells):
        return tokenise(cells)

    def build_masked(self, train):
        self.genes = train.genes
        return Histogram() if self.collapsed else Bag(len(train.genes) + 1)

    def masked_logits(self, network, batch):
        x = network(batch["counts"] if self.collapsed else batch["tokens"])
        return network.to_out(x.flatten(0, 1)[batch["where"]])

    def layouts(self, network, epoch):
        state = network.state_dict()
        ours = {"format": 1, "model": "fake", "genes": self.genes.tolist(), "network": state}
        return {
            "pretrained.pt": ours,
            "pretrained_published.pth": published_layout(state, epoch),
        }

    def build(self, train):
        return nn.Linear(len(train.genes) + 1, len(train.classes))

    def encode(self, cells):
        return Dense(self.tokens(cells), cells.labels_C)

    def logits(self, network, batch):
        return network(batch["tokens"].float())


class Dense:
    def __init__(self, tokens, labels_C):
        self.tokens, self.labels_C = tokens, labels_C

    def __len__(self):
        return len(self.tokens)

    def batch(self, rows, moment):
        return {
            "tokens": torch.from_numpy(self.tokens.dense(rows)),
            "labels": as_tensor(self.labels_C[rows]),
        }
