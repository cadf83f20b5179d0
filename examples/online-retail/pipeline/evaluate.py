"""Stage 6: most-popular, tuned neighbour models and the model, leave-last-out (data/quality.json).

    evaluate.py [validation]

Every user's last first-purchase is the target, items bought before are excluded, the beam is 50 wide and the
weights are rounded to float16 as in the exported file. With "validation" only the model is scored, on the
second last item and with the model trained for that, and nothing is written.
"""

import json
import sys
from collections import Counter

import numpy as np

import knn
from beam_search import Trie, beam_search
from dataset import history_of, load_baskets, load_cases, load_items, load_sids
from metrics import MISSED, recall_difference, summary
from model import load
from settings import BEAM_WIDTH, DATA, WORK, TrainSettings
from teacher import neighbour_shares
from tokens import Tokens

ROWS_AT_ONCE = 64


def popularity_ranks(cases):
    """Most bought among the first purchases before the targets."""
    counts = Counter(item for case in cases for item in case.first_purchases)
    order = [item for item, _ in counts.most_common()]
    ranks = []
    for case in cases:
        seen = set(case.first_purchases)
        unseen = [item for item in order if item not in seen]
        ranks.append(unseen.index(case.target) if case.target in unseen else MISSED)
    return np.array(ranks)


def model_ranks(model, trie, cases, repeats, depth=20):
    ranks = []
    for first in range(0, len(cases), ROWS_AT_ONCE):
        group = cases[first:first + ROWS_AT_ONCE]
        found = beam_search(model, trie, [history_of(case, repeats) for case in group],
                            excluded=[case.first_purchases for case in group], top_k=depth)
        for case, best in zip(group, found):
            listed = [item for item, _ in best]
            ranks.append(listed.index(case.target) if case.target in listed else MISSED)
    return np.array(ranks)


def knn_sequences(cases, extra):
    """What neighbours are learned from: first purchases only, or all that the model is trained on."""
    if not extra:
        return [case.first_purchases for case in cases]
    return [history_of(case, True) for case in cases] + [[i for i, _ in basket] for basket in load_baskets()]


def item_knn(cases, extra, item_count):
    return knn.similarities(knn_sequences(cases, extra), item_count)


def neighbouring_lines(cases, extra, item_count):
    """The model's teacher by itself: no baseline is closer to it."""
    return neighbour_shares(knn_sequences(cases, extra), item_count, TrainSettings())


def tuned(similarities, extra, item_count):
    """(test ranks, chosen decay and window); neighbours for tuning come from before the validation targets."""
    validation, test = load_cases("validation"), load_cases("test")
    chosen = knn.tune(similarities(validation, extra, item_count), validation,
                      [history_of(case, extra) for case in validation])
    histories = [history_of(case, extra) for case in test]
    return knn.ranks(similarities(test, extra, item_count), test, histories, *chosen), chosen


def by_invoice(ranks, same_invoice):
    return {"all": summary(ranks), "sameInvoice": summary(ranks[same_invoice]),
            "newInvoice": summary(ranks[~same_invoice])}


BASELINES = (
    ("itemKnn", item_knn, False),
    ("itemKnnExtraData", item_knn, True),
    ("neighbouringLines", neighbouring_lines, True),
)


def main():
    split = sys.argv[1] if len(sys.argv) > 1 else "test"
    tokens, repeats = Tokens(load_sids()), TrainSettings().repeats
    cases = load_cases(split)
    ours = model_ranks(load(WORK / f"model-{split}.pt", half_rounded=True), Trie(tokens), cases, repeats)
    if split != "test":
        print(summary(ours))
        return
    same = np.array([case.same_invoice for case in cases])
    item_count = len(load_items())
    report = {
        "protocol": "leave-last-out, items bought before excluded, float16-rounded weights",
        "beamWidth": BEAM_WIDTH,
        "users": {"all": len(cases), "sameInvoice": int(same.sum()), "newInvoice": int((~same).sum())},
        "mostPopular": by_invoice(popularity_ranks(cases), same),
    }
    differences = {}
    for name, similarities, extra in BASELINES:
        theirs, (decay, window) = tuned(similarities, extra, item_count)
        report[name] = {"decay": decay, "window": window} | by_invoice(theirs, same)
        differences[name] = {"all": recall_difference(ours, theirs),
                             "sameInvoice": recall_difference(ours[same], theirs[same]),
                             "newInvoice": recall_difference(ours[~same], theirs[~same])}
    report["model"] = by_invoice(ours, same)
    report["modelMinusKnnRecallAt10"] = differences
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "quality.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
