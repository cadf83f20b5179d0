"""Stage 3: semantic ids and purchase sequences -> a trained model (work/model-<split>.pt).

    train.py [validation|test]

"validation" trains on what comes before each user's second last item, to choose settings; "test" (the
default) trains on what comes before the last item, with the settings chosen, for the model that ships. Test
targets are never read here: also the "test" run watches validation targets, of every tenth user, whose training
events therefore end before them.
"""

import math
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional

from dataset import history_of, load_baskets, load_cases, load_sids
from model import Retriever, causal, replicate, save
from settings import BOS, CONTEXT_ITEMS, PAD, WORK, ModelSettings, TrainSettings
from teacher import Teacher
from tokens import Tokens

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


def windows(sequences, settings, rng):
    """Cuts every sequence into windows of CONTEXT_ITEMS + 1 (item, loss weight) at a random offset, shuffled.

    Each item is predicted once: the overlapping items that begin a later window are context only, and so, by
    default, are items that the sequence had before."""
    size, cut = CONTEXT_ITEMS + 1, []
    for sequence in sequences:
        if rng.random() < settings.reverse:
            sequence = sequence[::-1]
        met = set()
        weighted = [(item, settings.repeat_loss if item in met or met.add(item) else 1.0) for item in sequence]
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


def batches(sequences, settings, rng):
    """Endless groups of windows of similar lengths."""
    pool = settings.batch_windows * 16
    while True:
        cut = windows(sequences, settings, rng)
        for first in range(0, len(cut) - settings.batch_windows, pool):
            near = sorted(cut[first:first + pool], key=len)
            groups = [near[n:n + settings.batch_windows] for n in range(0, len(near), settings.batch_windows)]
            rng.shuffle(groups)
            for group in groups:
                yield group


def collate(group, tokens):
    length = 1 + tokens.levels * max(len(window) for window in group)
    ids = np.full((len(group), length), PAD, np.int64)
    weights = np.zeros((len(group), length), np.float32)
    ids[:, 0] = BOS
    for row, window in enumerate(group):
        end = 1 + tokens.levels * len(window)
        ids[row, 1:end] = tokens.table[[item for item, _ in window]].reshape(-1)
        weights[row, 1:end] = np.repeat([weight for _, weight in window], tokens.levels)
    return torch.from_numpy(ids), torch.from_numpy(weights)


def soft_targets(teacher, group, tokens, share):
    """float32 [counted tokens, vocab]: the purchase's own token and, weighing `share`, the teacher's."""
    items = np.zeros((len(group), max(len(window) for window in group)), np.int64)
    counted = np.zeros(items.shape, bool)
    for row, window in enumerate(group):
        items[row, :len(window)] = [item for item, _ in window]
        counted[row, :len(window)] = [weight > 0 for _, weight in window]
    wanted = np.nonzero(counted)
    taught = share * teacher.targets(items, wanted)
    own = tokens.table[items[wanted]]
    np.put_along_axis(taught, own[:, :, None],
                      np.take_along_axis(taught, own[:, :, None], 2) + 1 - taught.sum(-1, keepdims=True), 2)
    return torch.from_numpy(taught.reshape(-1, tokens.vocab_size))


def weighted_loss(model, ids, weights, targets=None):
    """Mean cross entropy per token that counts, against the tokens themselves or soft targets."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = model(ids[:, :-1], *causal(ids.shape[1] - 1))
    weights = weights[:, 1:].reshape(-1)
    counted = weights > 0
    losses = functional.cross_entropy(logits.reshape(-1, logits.shape[-1])[counted].float(),
                                      ids[:, 1:].reshape(-1)[counted] if targets is None else targets,
                                      reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def half_gradients(model, group, share_of_step, tokens, teacher, settings):
    """Adds the gradient of share_of_step * (mean loss of group) to model; returns that loss."""
    ids, weights = collate(group, tokens)
    targets = soft_targets(teacher, group, tokens, settings.teacher_share) if settings.teacher_share else None
    loss = share_of_step * weighted_loss(model, ids, weights, targets)
    loss.backward()
    return loss.item()


class ParallelGradients:
    """Splits a batch between two threads with a replica of the model each.

    Two threads that meet once a step keep two cores busy; OpenMP's threads meet at every operation and stall
    as soon as something else wants a core."""

    def __init__(self, model, tokens, teacher, settings):
        self.models = [model, replicate(model, seed=1)]
        self.rest = (tokens, teacher, settings)
        self.pool = ThreadPoolExecutor(len(self.models))

    def __call__(self, group):
        """Leaves the batch's gradient in the first model; returns the mean loss per token."""
        halves = [group[0::2], group[1::2]]
        counts = [sum(weight for window in half for _, weight in window) for half in halves]
        parts = [self.pool.submit(half_gradients, model, half, count / sum(counts), *self.rest)
                 for model, half, count in zip(self.models, halves, counts) if count]
        loss = sum(part.result() for part in parts)
        with torch.no_grad():
            for kept, other in zip(self.models[0].parameters(), self.models[1].parameters()):
                if other.grad is not None:
                    kept.grad += other.grad
                    other.grad = None
        return loss


def target_loss(model, cases, tokens, repeats):
    """Mean negative log-likelihood per target item: a smoother sign than recall of how training goes."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(cases), 128):
            group = [[(item, 0.0) for item in history_of(case, repeats)[-CONTEXT_ITEMS:]] + [(case.target, 1.0)]
                     for case in cases[first:first + 128]]
            total += weighted_loss(model, *collate(group, tokens)).item() * tokens.levels * len(group)
    model.train()
    return total / len(cases)


def optimizer_for(model, settings):
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
    teacher = Teacher(sequences, tokens, settings)
    gradients = ParallelGradients(model, tokens, teacher, settings)
    optimizer = optimizer_for(model, settings)
    source, started, seen, recent = batches(sequences, settings, rng), time.time(), 0, []
    for step in range(settings.steps):
        for parameters in optimizer.param_groups:
            parameters["lr"] = learning_rate(step, settings)
        group = next(source)
        optimizer.zero_grad(set_to_none=False)
        recent.append(gradients(group) * tokens.levels)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += sum(len(window) for window in group) * tokens.levels
        if (step + 1) % report_every == 0 or step + 1 == settings.steps:
            elapsed = time.time() - started
            print(f"step {step + 1}: loss per item {sum(recent) / len(recent):.3f}, "
                  f"validation {target_loss(model, watched, tokens, settings.repeats):.3f}, {elapsed:.0f} s, {seen / elapsed:.0f} tokens/s", flush=True)
            recent = []
    return model.eval()


def main():
    split = sys.argv[1] if len(sys.argv) > 1 else "test"
    if split not in ("validation", "test"):
        sys.exit("usage: train.py [validation|test]")
    save(train(split, Tokens(load_sids()), ModelSettings(), TrainSettings()), WORK / f"model-{split}.pt")


if __name__ == "__main__":
    main()
