"""Every setting of the pipeline, in one place; the scripts take paths only."""

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE / "intermediate"  # intermediate files, ignored by git
OUTPUT = Path(os.environ.get("OUTPUT_DIR", HERE.parent))  # elsewhere, to compare before replacing
DATA = OUTPUT / "data"
MODELS = OUTPUT / "models"

# --- prepare -----------------------------------------------------------------
MIN_BUYERS_PER_ITEM = 5
MIN_ITEMS_PER_USER = 5

# --- semantic ids ------------------------------------------------------------


@dataclass(frozen=True)
class SidSettings:
    codebook_sizes: tuple = (256, 256, 256)
    neighbour_window: int = 5  # lines to each side that count as "bought near"
    neighbour_decay: float = 0.5  # weight of a line at distance n: decay ** (n - 1)
    basket_weight: float = 0.05  # weight of any two lines of one invoice, however far apart
    behaviour_dims: int = 96
    title_dims: int = 64
    title_weight: float = 0.7  # against 1.0 for behaviour
    seed: int = 0


# --- model and training ------------------------------------------------------
PAD, BOS, FIRST_CODE_TOKEN = 0, 1, 2
CONTEXT_ITEMS = 20


@dataclass(frozen=True)
class ModelSettings:
    width: int = 192
    layers: int = 4
    heads: int = 6
    dropout: float = 0.15


@dataclass(frozen=True)
class TrainSettings:
    steps: int = 10_000
    batch_windows: int = 64
    peak_learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    overlap_items: int = 2  # context carried into a window without being predicted again
    anonymous: bool = True  # invoices without a customer are training sequences too
    repeats: bool = True  # keep repeat purchases in the history
    repeat_loss: float = 0.0  # loss weight of a repeat purchase: never asked for at evaluation
    reverse: float = 0.25  # share of sequences read backwards: neighbouring lines attract both ways
    teacher_share: float = 0.5  # weight of the neighbours' soft targets against the purchase itself
    teacher_window: int = 5
    teacher_count_decay: float = 0.6
    teacher_shrink: float = 10.0
    teacher_decay: float = 0.4
    seed: int = 0


# --- decoding ----------------------------------------------------------------
BEAM_WIDTH = 50
TOP_K = 10
RULES_AS_OF = "2011-12-10T00:00:00Z"
