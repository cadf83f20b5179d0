"""The demo's five rules: the CEL text the server evaluates, and the same in Python for the golden file."""

from datetime import datetime, timedelta

from settings import RULES_AS_OF

CEL = {
    "germany": '"Germany" in countries',
    "under-2-pounds": "price < 2.0",
    "new-arrivals": 'firstSold > timestamp(params.asOf) - duration("2160h")',
    "christmas": 'title.contains("CHRISTMAS")',
    "in-stock": 'lastSold > timestamp(params.asOf) - duration("336h")',
}


def _time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _since(hours):
    return _time(RULES_AS_OF) - timedelta(hours=hours)


PYTHON = {
    "germany": lambda item: "Germany" in item["countries"],
    "under-2-pounds": lambda item: item["price"] < 2.0,
    "new-arrivals": lambda item: _time(item["firstSold"]) > _since(2160),
    "christmas": lambda item: "CHRISTMAS" in item["title"],
    "in-stock": lambda item: _time(item["lastSold"]) > _since(336),
}


def allowed_items(name, items):
    """Indices of the items a rule allows."""
    return [index for index, item in enumerate(items) if PYTHON[name](item)]
