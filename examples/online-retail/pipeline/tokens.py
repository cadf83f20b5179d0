"""Items as model tokens: 0 is padding, 1 begins a sequence, then one block of codes per level."""

import numpy as np

from settings import BOS, CONTEXT_ITEMS, FIRST_CODE_TOKEN, PAD


class Tokens:
    """Attributes: sids int [items, levels]; table int [items, levels] the same as tokens."""

    def __init__(self, stored):
        self.sids = np.array(stored["sids"])
        self.codebook_sizes = list(stored["codebookSizes"])
        self.levels = len(self.codebook_sizes)
        self.level_offsets = [FIRST_CODE_TOKEN + sum(self.codebook_sizes[:level]) for level in range(self.levels)]
        self.vocab_size = FIRST_CODE_TOKEN + sum(self.codebook_sizes)
        self.table = self.sids + np.array(self.level_offsets)
        # BOS, the history and the target's tokens but the last, which is only ever predicted
        self.context_tokens = 1 + (CONTEXT_ITEMS + 1) * self.levels

    def left_padded(self, histories):
        """(ids int [rows, longest], lengths [rows]): BOS and the last CONTEXT_ITEMS items, oldest first."""
        rows = [np.concatenate([[BOS], self.table[list(history[-CONTEXT_ITEMS:])].reshape(-1)]).astype(np.int64)
                for history in histories]
        lengths = np.array([len(row) for row in rows])
        ids = np.full((len(rows), lengths.max()), PAD, np.int64)
        for row, own in zip(ids, rows):
            row[len(row) - len(own):] = own
        return ids, lengths
