"""Purchase sequences -> training batches of windows."""

import numpy as np
import torch

from settings import BOS, CONTEXT_ITEMS, PAD

GROUPS_SORTED_TOGETHER = 16  # wide enough for little padding, narrow enough to stay random


def windows(sequences, settings, rng):
    """Cuts every sequence into windows of CONTEXT_ITEMS + 1 (item, loss weight) at a random offset, shuffled.

    Each item is predicted once: the overlapping items that begin a later window are context only, and so, by
    default, are items that the sequence had before."""
    size, cut = CONTEXT_ITEMS + 1, []
    for sequence in sequences:
        if rng.random() < settings.reverse:
            sequence = sequence[::-1]
        weighted = _weighted(sequence, settings.repeat_loss)
        end = len(sequence) if len(sequence) <= size else rng.randint(2, size)
        start = fresh = 0
        while True:
            cut.append([(item, weight if start + n >= fresh else 0.0)
                        for n, (item, weight) in enumerate(weighted[start:end])])
            if end >= len(sequence):
                break
            fresh, start = end, max(0, end - settings.overlap_items)
            end = min(len(sequence), start + size)
    rng.shuffle(cut)
    return cut


def _weighted(sequence, repeat_loss):
    met, weighted = set(), []
    for item in sequence:
        weighted.append((item, repeat_loss if item in met else 1.0))
        met.add(item)
    return weighted


def batches(sequences, settings, rng):
    """Endless lists of `batch_windows` windows of similar lengths."""
    size = settings.batch_windows
    pool = size * GROUPS_SORTED_TOGETHER
    while True:
        cut = windows(sequences, settings, rng)
        for first in range(0, len(cut) - size, pool):
            near = sorted(cut[first:first + pool], key=len)
            groups = [near[n:n + size] for n in range(0, len(near), size)]
            rng.shuffle(groups)
            yield from groups


def collate(group, tokens):
    """(ids int [rows, length], loss weights float32 [rows, length]); right-padded, every row begins with BOS."""
    length = 1 + tokens.levels * max(len(window) for window in group)
    ids = np.full((len(group), length), PAD, np.int64)
    weights = np.zeros((len(group), length), np.float32)
    ids[:, 0] = BOS
    for row, window in enumerate(group):
        end = 1 + tokens.levels * len(window)
        ids[row, 1:end] = tokens.table[[item for item, _ in window]].reshape(-1)
        weights[row, 1:end] = np.repeat([weight for _, weight in window], tokens.levels)
    return torch.from_numpy(ids), torch.from_numpy(weights)
