"""The generative retriever: a small decoder over semantic-id tokens.

Positions enter only as a learned bias on the distance between two tokens, per layer and head. What matters
here is how far back an item lies, not where the window began, and a distance means the same to a beam that
is decoded with a past as to a training window.
"""

import math

import torch
from torch import nn
from torch.nn import functional

MASKED = -1e9  # not -inf: a row of padding only must stay finite


class PooledDropout(nn.Module):
    """Dropout whose masks are cut from a pool drawn once: on this CPU build of torch drawing fresh ones
    costs more than the layer they are for. Draws from a generator of its own, so replicas that train in
    parallel threads stay reproducible."""

    def __init__(self, rate, seed=0):
        super().__init__()
        self.rate = rate
        self.pool = None
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        count = x.numel()
        if self.pool is None or self.pool.numel() < 2 * count:
            drawn = torch.rand(max(1 << 23, 3 * count), generator=self.generator)
            self.pool = (drawn >= self.rate).to(x.dtype) / (1 - self.rate)
        start = int(torch.randint(0, self.pool.numel() - count, (1,), generator=self.generator))
        return x * self.pool[start:start + count].view_as(x)


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x, bias, past):
        """x [rows, new, width]; bias [1 or rows, heads, new, past + new]; past (key, value), each
        [rows, heads, past, width / heads], or None. Returns x transformed and the past with the new tokens."""
        rows, new, width = x.shape
        split = (rows, new, self.heads, width // self.heads)
        query, key, value = (part.reshape(split).transpose(1, 2)
                             for part in self.qkv(self.attention_norm(x)).split(width, -1))
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        scores = query @ key.transpose(-1, -2) * (1 / math.sqrt(width // self.heads)) + bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, new, width)
        x = x + self.dropout(self.attention_out(mixed))
        x = x + self.dropout(self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x)))))
        return x, (key, value)


class Retriever(nn.Module):
    def __init__(self, vocab_size, context_tokens, width, layers, heads, dropout):
        super().__init__()
        self.settings = dict(vocab_size=vocab_size, context_tokens=context_tokens, width=width,
                             layers=layers, heads=heads, dropout=dropout)
        self.token = nn.Embedding(vocab_size, width)
        self.distance_bias = nn.Embedding(context_tokens, layers * heads)
        self.dropout = PooledDropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, self.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.02)
        with torch.no_grad():
            self.distance_bias.weight.copy_(first_bias(context_tokens, layers, heads))

    def forward(self, ids, distance, visible, past=None, last_only=False):
        """Logits and the new past.

        ids [rows, new]; distance (how far back a key lies, >= 0) and visible [1 or rows, new, past + new];
        past: per layer (key, value). Returns logits [rows, new or 1, vocab] and the past with ids appended.
        """
        layers, heads = self.settings["layers"], self.settings["heads"]
        bias = self.distance_bias(distance).permute(0, 3, 1, 2)  # [rows, layers * heads, new, all]
        bias = bias + (1.0 - visible.to(bias.dtype)[:, None]) * MASKED
        x = self.dropout(self.token(ids))
        present = []
        for layer, block in enumerate(self.blocks):
            own_bias = bias[:, layer * heads:(layer + 1) * heads]
            x, kept = block(x, own_bias, None if past is None else past[layer])
            present.append(kept)
        x = self.norm(x[:, -1:] if last_only else x)
        return x @ self.token.weight.t(), present


def first_bias(context_tokens, layers, heads):
    """Where attention looks before training, [context_tokens, layers * heads].

    The first layer's heads look one, two, ... tokens back, which puts an item's codes together from the
    start; later layers prefer recent tokens, each head with another slope. Training may change all of it,
    but finds it much later when it begins from zeros."""
    distance = torch.arange(context_tokens, dtype=torch.float32)
    looks_at = torch.stack([(distance == head + 1) * 4.0 for head in range(heads)], 1)
    slopes = torch.stack([-distance * 0.5 * 4.0 ** -head for head in range(heads)], 1)
    return torch.cat([looks_at] + [slopes] * (layers - 1), 1)


def replicate(model, seed):
    """A model with the same weight storage but gradients and dropout of its own."""
    replica = Retriever(**model.settings)
    for own, shared in zip(replica.parameters(), model.parameters()):
        own.data = shared.data
    replica.dropout.generator.manual_seed(seed)
    return replica


def causal(length):
    """distance and visible [1, length, length] of an unpadded sequence."""
    position = torch.arange(length)
    back = position[:, None] - position[None, :]
    return back.clamp(min=0)[None], (back >= 0)[None]


def save(model, path):
    torch.save({"settings": model.settings, "weights": model.state_dict()}, path)


def load(path, half_rounded=False):
    """The model in evaluation mode; half_rounded gives the weights the exported file holds."""
    stored = torch.load(path)
    model = Retriever(**stored["settings"])
    weights = stored["weights"]
    if half_rounded:
        weights = {name: weight.half().float() for name, weight in weights.items()}
    model.load_state_dict(weights)
    return model.eval()
