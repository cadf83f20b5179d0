"""The baseline: item-to-item neighbours by cosine over who bought what, recent items counting more.

Simple and hard to beat on this data. Decay and window are chosen on the validation targets.
"""

import numpy as np
from scipy.sparse import csr_matrix

DECAYS = (0.3, 0.5, 0.7, 0.85, 1.0)
WINDOWS = (5, 20)


def similarities(sequences, item_count):
    """float32 [items, items]: cosine of the two items' buyers; zero diagonal. sequences: item lists."""
    rows = np.concatenate([np.full(len(s), row) for row, s in enumerate(sequences)])
    columns = np.concatenate(sequences)
    bought = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sequences), item_count))
    bought.data[:] = 1
    together = (bought.T @ bought).toarray()
    norms = np.sqrt(np.maximum(1, together.diagonal()))
    cosine = together / norms[:, None] / norms[None, :]
    np.fill_diagonal(cosine, 0)
    return cosine


def rank_of_target(cosine, history, seen, target, decay, window):
    """How many unseen items score above the target, given the history (oldest first)."""
    recent = history[-window:]
    scores = decay ** np.arange(len(recent))[::-1] @ cosine[recent]
    scores[seen] = -1
    return int((scores > scores[target]).sum())


def ranks(cosine, cases, histories, decay, window):
    return np.array([rank_of_target(cosine, history, case.first_purchases, case.target, decay, window)
                     for case, history in zip(cases, histories)])


def tune(cosine, cases, histories):
    """(decay, window) with the best recall at 10."""
    return max(((decay, window) for decay in DECAYS for window in WINDOWS),
               key=lambda pair: (ranks(cosine, cases, histories, *pair) < 10).mean())
