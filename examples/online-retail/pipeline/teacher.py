"""Soft targets: what the neighbours of the last items suggest, blended into the training loss.

One purchase says which item came next, the counts of all training sequences say which others could have.
The teacher is the strongest counting model found here: neighbouring lines in either direction, recent items
counting more, items already in the window left out. It is made from the training sequences only.
"""

import numpy as np
import torch

from sids import neighbour_counts


def neighbour_shares(sequences, item_count, settings):
    """float32 [items, items]: of the lines near an item, the share that is each other item; rows of rare items
    sum to less than 1, so that they say less."""
    counts = neighbour_counts([np.array(s) for s in sequences if len(s) > 1], item_count,
                              settings.teacher_window, settings.teacher_count_decay).toarray().astype(np.float32)
    return counts / (counts.sum(1, keepdims=True) + settings.teacher_shrink)


class Teacher:
    """Attributes: suggests float32 [items, items], columns in id order (leaves of one prefix adjoin);
    leaf_of int [items]: an item's column; codes int [items, levels]: the ids in that order."""

    def __init__(self, sequences, tokens, settings):
        order = np.lexsort(tokens.sids.T[::-1])
        shares = neighbour_shares(sequences, len(tokens.sids), settings)
        self.suggests = torch.from_numpy(np.ascontiguousarray(shares[:, order]))
        self.leaf_of = np.argsort(order)
        self.codes = tokens.sids[order]
        self.tokens = tokens
        self.decay = settings.teacher_decay
        self.ranges = [self._ranges(depth) for depth in range(tokens.levels)]

    def _ranges(self, depth):
        """First and one-past-last column [items] each of the leaves sharing `depth` codes with each leaf."""
        changed = np.ones(len(self.codes), bool)
        changed[1:] = (self.codes[1:, :depth] != self.codes[:-1, :depth]).any(1)
        starts = np.flatnonzero(changed)
        group = np.cumsum(changed) - 1
        return starts[group], np.append(starts[1:], len(self.codes))[group]

    def scores(self, items):
        """float32 tensor [window, rows, leaves]: suggestions before each position of items int [rows, window]."""
        rows, window = items.shape
        scores = torch.zeros(window, rows, len(self.codes))
        for position in range(1, window):
            previous = torch.from_numpy(items[:, position - 1])
            torch.mul(scores[position - 1], self.decay, out=scores[position])
            scores[position] += self.suggests[previous]
        for position in range(1, window):
            seen = torch.from_numpy(self.leaf_of[items[:, :position]])
            scores[position].scatter_(1, seen, 0.0)
        return scores

    def targets(self, items, wanted):
        """float32 [wanted count, levels, vocab]: per level the suggestions that share the true item's earlier
        codes, as a distribution over tokens; a row of zeros where there are none.

        items int [rows, window]; wanted (row indices, position indices) of the items to predict.
        """
        at_row, at_position = wanted
        scores = self.scores(items)[at_position, at_row].numpy()
        leaf = self.leaf_of[items[at_row, at_position]]
        targets = np.zeros((len(leaf), self.tokens.levels, self.tokens.vocab_size), np.float32)
        for level, (starts, ends) in enumerate(self.ranges):
            if level == 0:
                columns = np.flatnonzero(np.append(True, self.codes[1:, 0] != self.codes[:-1, 0]))
                sums = np.add.reduceat(scores, columns, axis=1)
                targets[:, 0, self.tokens.level_offsets[0] + self.codes[columns, 0]] = sums
                continue
            start, end = starts[leaf], ends[leaf]
            column = start[:, None] + np.arange((end - start).max())
            inside = column < end[:, None]
            row = np.nonzero(inside)[0]
            column = column[inside]
            token = self.tokens.level_offsets[level] + self.codes[column, level]
            targets[:, level] = np.bincount(
                row * self.tokens.vocab_size + token, scores[row, column],
                minlength=len(leaf) * self.tokens.vocab_size).reshape(len(leaf), -1)
        total = targets.sum(-1, keepdims=True)
        return np.divide(targets, total, out=targets, where=total > 0)
