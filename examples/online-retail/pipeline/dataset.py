"""The prepared files as plain lists, and the leave-last-out split that every stage shares.

For each user the items in order of first purchase end in `validation target, test target`. A split named
"validation" knows the events before the validation target, "test" those before the test target: what comes
later, repeats included, is dropped, so nothing can leak back.
"""

import json
from dataclasses import dataclass

from settings import WORK


@dataclass(frozen=True)
class Case:
    """One user to predict for."""

    user: int
    events: list  # [item, isFirstPurchase] before the target, oldest first, repeats kept
    first_purchases: list  # the distinct items among them, in order of first purchase
    target: int
    same_invoice: bool  # the target was bought on the invoice of the item before it


def read_lines(name):
    with open(WORK / name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def load_items():
    return read_lines("items.jsonl")


def load_sids():
    with open(WORK / "sids.json", encoding="utf-8") as file:
        return json.load(file)


def load_cases(split):
    """Every user's case; split is "validation" (second last item) or "test" (last item)."""
    from_end = {"validation": 2, "test": 1}[split]
    cases = []
    for user in read_lines("users.jsonl"):
        events = user["events"]
        firsts = [position for position, event in enumerate(events) if event[2]]
        at, before = firsts[-from_end], firsts[-from_end - 1]
        cases.append(Case(
            user=user["user"],
            events=[(item, first) for item, _, first in events[:at]],
            first_purchases=[events[position][0] for position in firsts[:-from_end]],
            target=events[at][0],
            same_invoice=events[at][1] == events[before][1],
        ))
    return cases


def load_baskets():
    """Anonymous invoices as event lists, like Case.events."""
    return [[(item, first) for item, _, first in basket["events"]] for basket in read_lines("baskets.jsonl")]


def history_of(case, repeats):
    """What the model reads: with repeats every event, else the first purchases."""
    return [item for item, _ in case.events] if repeats else case.first_purchases
