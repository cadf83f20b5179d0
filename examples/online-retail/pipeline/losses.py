"""What training minimises and what it watches."""

import numpy as np
import torch
from torch.nn import functional

from dataset import history_of
from model import causal
from settings import CONTEXT_ITEMS
from windows import collate

ROWS_AT_ONCE = 128


def weighted_loss(model, ids, weights, targets=None):
    """Mean cross entropy per token that counts (weight above 0): against the tokens themselves, or against
    soft targets float32 [counted tokens, vocab]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = model(ids[:, :-1], *causal(ids.shape[1] - 1))
    weights = weights[:, 1:].reshape(-1)
    counted = weights > 0
    losses = functional.cross_entropy(logits.reshape(-1, logits.shape[-1])[counted].float(),
                                      ids[:, 1:].reshape(-1)[counted] if targets is None else targets,
                                      reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def soft_targets(teacher, group, tokens, share):
    """float32 [counted tokens, vocab]: the purchase's own token and, weighing `share`, the teacher's."""
    items = np.zeros((len(group), max(len(window) for window in group)), np.int64)
    counted = np.zeros(items.shape, bool)
    for row, window in enumerate(group):
        items[row, :len(window)] = [item for item, _ in window]
        counted[row, :len(window)] = [weight > 0 for _, weight in window]
    wanted = np.nonzero(counted)
    blended = share * teacher.targets(items, wanted)
    own = tokens.table[items[wanted]][:, :, None]
    # where the teacher has nothing to say its row is zero and the purchase gets the whole weight
    whole = np.take_along_axis(blended, own, 2) + 1 - blended.sum(-1, keepdims=True)
    np.put_along_axis(blended, own, whole, 2)
    return torch.from_numpy(blended.reshape(-1, tokens.vocab_size))


def target_loss(model, cases, tokens, repeats):
    """Mean negative log-likelihood per target item: a smoother sign than recall of how training goes."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(cases), ROWS_AT_ONCE):
            group = [[(item, 0.0) for item in history_of(case, repeats)[-CONTEXT_ITEMS:]] + [(case.target, 1.0)]
                     for case in cases[first:first + ROWS_AT_ONCE]]
            total += weighted_loss(model, *collate(group, tokens)).item() * tokens.levels * len(group)
    model.train()
    return total / len(cases)
