"""Stage 5: what the demo has besides the model (data/items.ndjson.gz, histories.ndjson.gz, golden-beams.json)."""

import gzip
import json
import random

from beam_search import Trie, beam_search
from dataset import history_of, load_cases, load_items, load_sids
from model import load
from rules import CEL, allowed_items
from settings import BEAM_WIDTH, CONTEXT_ITEMS, DATA, RULES_AS_OF, TOP_K, WORK, TrainSettings
from tokens import Tokens

GOLDEN_SEED = 7


def write_gzip_lines(name, records):
    """Same records, same bytes: no time stamp and no file name in the gzip header."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with open(DATA / name, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text.encode("utf-8"))


def item_records(items, sids):
    return [{"id": item["id"], "sid": sid} | {key: item[key] for key in item if key != "id"}
            for item, sid in zip(items, sids)]


def history_records(cases, items):
    """user is a running number; targets are what quality.json was measured on."""
    def ids(indices):
        return [items[index]["id"] for index in indices]
    return [{"user": case.user, "history": ids(case.first_purchases),
             "historyWithRepeats": ids(history_of(case, True)), "target": items[case.target]["id"],
             "sameInvoice": case.same_invoice} for case in cases]


def golden_histories(cases, repeats):
    """No history, one item, two items, then real ones: shorter than the context, longer, and very long."""
    rng = random.Random(GOLDEN_SEED)
    histories = [history_of(case, repeats) for case in cases]
    short = [h for h in histories if len(h) < CONTEXT_ITEMS]
    medium = [h for h in histories if CONTEXT_ITEMS <= len(h) < 3 * CONTEXT_ITEMS]
    long = [h for h in histories if 150 < len(h) < 400]
    one = rng.choice(short)
    return ([[], one[:1], one[:2]] + rng.sample(short, 7) + rng.sample(medium, 8) + rng.sample(long, 6))


def golden_cases(model, trie, items, cases, repeats):
    """Every history unconstrained and under one rule, in turn; every second one leaves the history out."""
    rule_names = [None, *CEL]
    golden = []
    for number, history in enumerate(golden_histories(cases, repeats)):
        rule_here = rule_names[number % len(rule_names)]
        for rule in [None] if rule_here is None else [None, rule_here]:
            exclude = number % 2 == 1 if rule is None else number // 2 % 2 == 0
            allowed = None if rule is None else allowed_items(rule, items)
            found = beam_search(model, trie, [history], allowed, [history] if exclude else None)[0]
            golden.append({
                "history": [items[index]["id"] for index in history],
                "allowed": None if rule is None else {"set": rule, "rule": CEL[rule], "items": len(allowed)},
                "excludeHistory": exclude,
                "items": [{"id": items[index]["id"], "score": round(score, 6)} for index, score in found],
            })
    return golden


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    items, sids, cases = load_items(), load_sids(), load_cases("test")
    write_gzip_lines("items.ndjson.gz", item_records(items, sids["sids"]))
    write_gzip_lines("histories.ndjson.gz", history_records(cases, items))
    model = load(WORK / "model-test.pt", half_rounded=True)
    golden = golden_cases(model, Trie(Tokens(sids)), items, cases, TrainSettings().repeats)
    head = {"beamWidth": BEAM_WIDTH, "k": TOP_K, "params": {"asOf": RULES_AS_OF}}
    body = ",\n    ".join(json.dumps(case) for case in golden)
    (DATA / "golden-beams.json").write_text(
        json.dumps(head)[:-1] + ', "cases": [\n    ' + body + "\n]}\n", encoding="utf-8")
    print(f"{len(items)} items, {len(cases)} histories, {len(golden)} golden beams")


if __name__ == "__main__":
    main()
