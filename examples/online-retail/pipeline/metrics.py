"""Recall, NDCG and a paired bootstrap over the target's rank (0 is best, MISSED when not listed)."""

import numpy as np

MISSED = 10 ** 9
CUTOFFS = (5, 10, 20)


def summary(ranks):
    ranks = np.asarray(ranks)
    gain = 1 / np.log2(np.minimum(ranks, 1e6) + 2)
    recall = {f"R@{k}": round(float((ranks < k).mean()), 4) for k in CUTOFFS}
    return recall | {f"NDCG@{k}": round(float(np.where(ranks < k, gain, 0).mean()), 4) for k in CUTOFFS}


def recall_difference(ours, theirs, cutoff=10, samples=10_000, seed=0):
    """Mean difference of recall at the cutoff over the same users and its 95 % bootstrap interval."""
    difference = (np.asarray(ours) < cutoff).astype(float) - (np.asarray(theirs) < cutoff)
    rng = np.random.default_rng(seed)
    means = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": round(float(difference.mean()), 4), "low": round(float(low), 4),
            "high": round(float(high), 4)}
