"""Stage 3: semantic ids and purchase sequences -> a trained model (intermediate/model-<split>.pt).

    train.py [validation|test]

"validation" trains on what comes before each user's second last item, to choose settings; "test" (the
default) trains on what comes before the last item, with the settings chosen, for the model that ships. Test
targets are never read here: the "test" run too watches validation targets, of every tenth user, whose training
events therefore end before them.
"""

import math
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from dataset import history_of, load_baskets, load_cases, load_sids
from losses import soft_targets, target_loss, weighted_loss
from model import Retriever, replicate, save
from settings import WORK, ModelSettings, TrainSettings
from teacher import Teacher
from tokens import Tokens
from windows import batches, collate

WATCH_EVERY = 10


def split_cases(split):
    """(cases whose events are trained on, cases whose targets are watched)."""
    validation = load_cases("validation")
    if split == "validation":
        return validation, validation
    watched = validation[::WATCH_EVERY]
    trained = load_cases("test")
    trained[::WATCH_EVERY] = watched
    return trained, watched


def training_sequences(cases, settings):
    """Item lists: the users' events before their targets, and anonymous invoices."""
    sequences = [history_of(case, settings.repeats) for case in cases]
    if settings.anonymous:
        sequences += [[item for item, _ in events] for events in load_baskets()]
    return sequences


class ParallelGradients:
    """Splits a batch between two threads with a replica of the model each.

    Two threads that meet once a step keep two cores busy; OpenMP's threads meet at every operation and stall
    as soon as something else wants a core."""

    def __init__(self, model, tokens, teacher, settings):
        self.models = [model, replicate(model, seed=1)]
        self.tokens, self.teacher, self.settings = tokens, teacher, settings
        self.pool = ThreadPoolExecutor(len(self.models))

    def __call__(self, group):
        """Adds the batch's gradient to the first model's; returns the mean loss per token."""
        halves = [group[0::2], group[1::2]]
        counts = [sum(weight for window in half for _, weight in window) for half in halves]
        parts = [self.pool.submit(self._half, model, half, count / sum(counts))
                 for model, half, count in zip(self.models, halves, counts) if count]
        loss = sum(part.result() for part in parts)
        with torch.no_grad():
            for kept, other in zip(self.models[0].parameters(), self.models[1].parameters()):
                if other.grad is not None:
                    kept.grad += other.grad
                    other.grad = None
        return loss

    def _half(self, model, half, share_of_batch):
        ids, weights = collate(half, self.tokens)
        share = self.settings.teacher_share
        targets = soft_targets(self.teacher, half, self.tokens, share) if share else None
        loss = share_of_batch * weighted_loss(model, ids, weights, targets)
        loss.backward()
        return loss.item()


def optimizer_for(model, settings):
    """AdamW; biases and norms do not decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": settings.weight_decay},
                              {"params": vectors, "weight_decay": 0.0}],
                             settings.peak_learning_rate, betas=(0.9, 0.98))


def learning_rate(step, settings):
    """Linear warm-up, then a cosine to one twentieth."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.peak_learning_rate * warm * (0.05 + 0.475 * (1 + math.cos(math.pi * step / settings.steps)))


def train(split, tokens, model_settings, settings, report_every=200):
    torch.set_num_threads(1)  # ParallelGradients uses the cores
    torch.manual_seed(settings.seed)
    rng = random.Random(settings.seed)
    cases, watched = split_cases(split)
    sequences = training_sequences(cases, settings)
    model = Retriever(tokens.vocab_size, tokens.context_tokens, model_settings.width, model_settings.layers,
                      model_settings.heads, model_settings.dropout)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(sequences)} sequences", flush=True)
    gradients = ParallelGradients(model, tokens, Teacher(sequences, tokens, settings), settings)
    optimizer = optimizer_for(model, settings)
    source, started, recent = batches(sequences, settings, rng), time.time(), []
    for step in range(settings.steps):
        for parameters in optimizer.param_groups:
            parameters["lr"] = learning_rate(step, settings)
        optimizer.zero_grad(set_to_none=False)
        recent.append(gradients(next(source)) * tokens.levels)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % report_every == 0 or step + 1 == settings.steps:
            print(f"step {step + 1}: loss per item {sum(recent) / len(recent):.3f}, "
                  f"watched {target_loss(model, watched, tokens, settings.repeats):.3f}, "
                  f"{time.time() - started:.0f} s", flush=True)
            recent = []
    return model.eval()


def main():
    split = sys.argv[1] if len(sys.argv) > 1 else "test"
    if split not in ("validation", "test"):
        sys.exit("usage: train.py [validation|test]")
    save(train(split, Tokens(load_sids()), ModelSettings(), TrainSettings()), WORK / f"model-{split}.pt")


if __name__ == "__main__":
    main()
