"""Tries settings on the validation targets: builds ids, trains, scores; nothing but one line is kept.

    try_settings.py NAME [sid.FIELD=VALUE] [model.FIELD=VALUE] [train.FIELD=VALUE] ...

The line goes to intermediate/experiments.jsonl; experiments.md tells what came of them.
"""

import ast
import json
import sys
import time
from dataclasses import asdict, replace

from beam_search import Trie
from dataset import load_cases
from evaluate import model_ranks
from losses import target_loss
from metrics import summary
from model import save
from settings import WORK, ModelSettings, SidSettings, TrainSettings
from sids import build_sids
from tokens import Tokens
from train import train


def parse(arguments):
    chosen = {"sid": SidSettings(), "model": ModelSettings(), "train": TrainSettings()}
    for argument in arguments:
        name, value = argument.split("=", 1)
        part, field = name.split(".")
        chosen[part] = replace(chosen[part], **{field: ast.literal_eval(value)})
    return chosen


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    name, chosen = sys.argv[1], parse(sys.argv[2:])
    tokens = Tokens(build_sids(chosen["sid"]))
    cases, started = load_cases("validation"), time.time()
    model = train("validation", tokens, chosen["model"], chosen["train"])
    minutes = (time.time() - started) / 60
    repeats = chosen["train"].repeats
    result = {"name": name, "changed": sys.argv[2:], "minutes": round(minutes, 1),
              "loss": round(target_loss(model, cases, tokens, repeats), 3),
              **summary(model_ranks(model.eval(), Trie(tokens), cases, repeats))}
    save(model, WORK / f"try-{name}.pt")
    with open(WORK / "experiments.jsonl", "a", encoding="utf-8") as file:
        settings = {part: asdict(value) for part, value in chosen.items()}
        file.write(json.dumps(result | {"settings": settings}) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
