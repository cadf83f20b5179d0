"""Stage 2: items -> semantic ids (intermediate/sids.json), by residual k-means over behaviour and titles.

Behaviour is what predicts the next line of an invoice: which items stand near each other, nearer counting
more. Its positive pointwise mutual information is factorised, joined with title words, and quantised level
by level, so items that follow one another share prefixes. Only events before the *validation* target are
used, so one set of ids serves tuning and the final model without seeing either target.
"""

import json
import time
from collections import defaultdict

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from dataset import load_baskets, load_cases, load_items
from settings import WORK, SidSettings


def neighbour_counts(sequences, item_count, window, decay):
    """Symmetric [items, items] sums of decay ** (distance - 1) over lines near each other."""
    counts = csr_matrix((item_count, item_count), dtype=np.float64)
    for distance in range(1, window + 1):
        left = np.concatenate([s[:-distance] for s in sequences])
        right = np.concatenate([s[distance:] for s in sequences])
        weight = decay ** (distance - 1)
        counts += csr_matrix((np.full(len(left), weight), (left, right)), shape=counts.shape)
    counts = counts + counts.T
    return counts - diags(counts.diagonal())


def basket_counts(sequences, item_count):
    """Symmetric [items, items] counts of two items in one sequence, each sequence weighing its length."""
    rows = np.concatenate([np.full(len(s), row) for row, s in enumerate(sequences)])
    columns = np.concatenate(sequences)
    member = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sequences), item_count))
    member.data[:] = 1
    scale = diags(1 / np.sqrt(np.asarray(member.sum(1)).ravel()))
    counts = (scale @ member).T @ (scale @ member)
    return counts - diags(counts.diagonal())


def positive_pmi(counts):
    """Sparse max(0, log p(i, j) / (p(i) p(j))), with context counts smoothed by the usual power 0.75."""
    counts = counts.tocoo()
    totals = np.maximum(np.asarray(counts.sum(1)).ravel(), 1e-9)
    smoothed = totals ** 0.75
    smoothed *= totals.sum() / smoothed.sum()
    log_ratio = np.log(counts.data * totals.sum() / (totals[counts.row] * smoothed[counts.col]))
    kept = log_ratio > 0
    return csr_matrix((log_ratio[kept], (counts.row[kept], counts.col[kept])), shape=counts.shape)


def item_embeddings(items, sequences, settings):
    """float32 [items, behaviour_dims + title_dims]; each half has unit rows before weighting."""
    near = neighbour_counts(sequences, len(items), settings.neighbour_window, settings.neighbour_decay)
    together = basket_counts(sequences, len(items))
    svd = TruncatedSVD(settings.behaviour_dims, random_state=settings.seed)
    behaviour = svd.fit_transform(positive_pmi(near + settings.basket_weight * together))
    behaviour /= np.sqrt(svd.singular_values_)  # square-root weighting keeps the weaker directions heard
    words = TfidfVectorizer(token_pattern=r"[a-z]{2,}", sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    titles = TruncatedSVD(settings.title_dims, random_state=settings.seed).fit_transform(
        words.fit_transform([item["title"].lower() for item in items]))
    return np.hstack([normalize(behaviour), settings.title_weight * normalize(titles)]).astype(np.float32)


def quantise(embeddings, popularity, settings):
    """Residual k-means; returns int [items, levels], all rows different.

    Items that would share an id keep the first two codes and take the next nearest free last code, the most
    bought item first, so that popular items keep the code that suits them."""
    residual, codes = embeddings.copy(), []
    for level, size in enumerate(settings.codebook_sizes):
        fit = KMeans(size, n_init=3, max_iter=100, random_state=settings.seed + level).fit(residual)
        codes.append(fit.labels_)
        if level + 1 < len(settings.codebook_sizes):
            residual = residual - fit.cluster_centers_[fit.labels_]
    distances = ((residual[:, None, :] - fit.cluster_centers_[None]) ** 2).sum(-1)
    taken, sids = defaultdict(set), np.stack(codes, 1)
    for item in np.argsort(-popularity, kind="stable"):
        used = taken[tuple(sids[item, :-1])]
        free = next(code for code in np.argsort(distances[item], kind="stable") if code not in used)
        used.add(free)
        sids[item, -1] = free
    return sids


def build_sids(settings):
    """{"codebookSizes", "sids"} from the prepared files."""
    items = load_items()
    sequences = [np.array([item for item, _ in case.events]) for case in load_cases("validation")]
    sequences += [np.array([item for item, _ in events]) for events in load_baskets()]
    embeddings = item_embeddings(items, sequences, settings)
    sids = quantise(embeddings, np.array([item["buyers"] for item in items]), settings)
    assert len({tuple(sid) for sid in sids.tolist()}) == len(items)
    return {"codebookSizes": list(settings.codebook_sizes), "sids": sids.tolist()}


def main():
    started = time.time()
    built = build_sids(SidSettings())
    with open(WORK / "sids.json", "w", encoding="utf-8") as file:
        json.dump(built, file)
    sids = built["sids"]
    prefixes = [len({tuple(sid[:depth]) for sid in sids}) for depth in range(1, len(sids[0]) + 1)]
    print(f"nodes per level {prefixes}, {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
