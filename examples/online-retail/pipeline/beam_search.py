"""Exact constrained beam search over the items' semantic ids, many histories at once.

The beams of one history share its encoded context: at every level all beams are fed as one short sequence
in which each token sees the context, its own ancestors and itself. That gives the numbers of one row per
beam, without copying the context fifty times.
"""

import numpy as np
import torch

from settings import BEAM_WIDTH, TOP_K

NO_NODE = -1
ROOT = 0


class Trie:
    """children int [nodes, widest codebook]: the child by code, or NO_NODE; paths int [items, levels]: an
    item's node at each level; item_at int [nodes]: the item of a leaf, NO_NODE elsewhere."""

    def __init__(self, tokens):
        self.tokens = tokens
        item_count, levels = tokens.sids.shape
        self.children = np.full((1 + item_count * levels, max(tokens.codebook_sizes)), NO_NODE, np.int64)
        self.paths = np.zeros((item_count, levels), np.int64)
        nodes = 1
        for item, sid in enumerate(tokens.sids):
            node = ROOT
            for level, code in enumerate(sid):
                if self.children[node, code] == NO_NODE:
                    self.children[node, code] = nodes
                    nodes += 1
                node = self.paths[item, level] = self.children[node, code]
        self.children = self.children[:nodes]
        self.item_at = np.full(nodes, NO_NODE, np.int64)
        self.item_at[self.paths[:, -1]] = np.arange(item_count)

    def live_counts(self, items):
        """How many of the (distinct) items lie under each node: int [nodes]."""
        return np.bincount(self.paths[list(items)].reshape(-1), minlength=len(self.children))


def beam_search(model, trie, histories, allowed=None, excluded=None, beam_width=BEAM_WIDTH, top_k=TOP_K):
    """Per history a list of (item, score), best first; score is the sum of log-probabilities over the whole
    vocabulary along the id, so a constraint removes candidates but never rescales them.

    allowed: items every history may get (None: all); excluded: per history a set of items to leave out.
    Only children with an allowed item beneath them compete. Equal scores keep the smaller parent beam, then
    the smaller code.
    """
    tokens, rows = trie.tokens, len(histories)
    allowed = set(range(len(tokens.sids))) if allowed is None else set(allowed)
    live = np.tile(trie.live_counts(allowed), (rows, 1))
    for row, items in enumerate(excluded or []):
        live[row] -= trie.live_counts(set(items) & allowed)

    decoder = _Decoder(model, *tokens.left_padded(histories))
    logits = decoder.logits
    scores = np.zeros((rows, 1), np.float32)
    nodes = np.full((rows, 1), ROOT)
    for level, (offset, size) in enumerate(zip(tokens.level_offsets, tokens.codebook_sizes)):
        log_probs = logits.log_softmax(-1)[:, :, offset:offset + size].numpy()
        child = np.where(nodes[:, :, None] == NO_NODE, NO_NODE, trie.children[nodes, :size])
        alive = (child != NO_NODE) & (np.take_along_axis(
            live, np.maximum(child, 0).reshape(rows, -1), 1).reshape(child.shape) > 0)
        candidates = np.where(alive, scores[:, :, None] + log_probs, -np.inf).reshape(rows, -1)
        width = min(beam_width, int(alive.reshape(rows, -1).sum(1).max()))
        if width == 0:
            return [[] for _ in histories]
        # the flat order is (parent, code), so a stable sort settles ties as promised
        chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :width]
        scores = np.take_along_axis(candidates, chosen, 1)
        nodes = np.where(np.isfinite(scores), np.take_along_axis(child.reshape(rows, -1), chosen, 1), NO_NODE)
        if level + 1 < tokens.levels:
            logits = decoder.step(parents=chosen // size, ids=chosen % size + offset)
    return [[(int(trie.item_at[node]), float(score)) for node, score in zip(row_nodes[:top_k], row_scores[:top_k])
             if node != NO_NODE] for row_nodes, row_scores in zip(nodes, scores)]


class _Decoder:
    """Holds the past of every row and which of its slots each beam may see."""

    def __init__(self, model, ids, lengths):
        self.model = model
        width = ids.shape[1]
        self.position = torch.arange(width)[None] - torch.from_numpy(width - lengths)[:, None]
        real = self.position >= 0
        back = self.position[:, :, None] - self.position[:, None, :]
        with torch.no_grad():
            self.logits, self.past = model(torch.from_numpy(ids), back.clamp(min=0),
                                           (back >= 0) & real[:, None, :], last_only=True)
        self.next_position = torch.from_numpy(lengths)
        # what each beam sees of the past: so far one beam, the context itself
        self.seen = real[:, None, :]

    def step(self, parents, ids):
        """Feeds one token per beam, int [rows, beams] each; returns logits [rows, beams, vocab]."""
        rows, beams = ids.shape
        parents = torch.from_numpy(parents)
        inherited = torch.gather(self.seen, 1, parents[:, :, None].expand(-1, -1, self.seen.shape[2]))
        itself = torch.eye(beams, dtype=torch.bool)[None].expand(rows, -1, -1)
        self.seen = torch.cat([inherited, itself], 2)
        now = self.next_position[:, None].expand(-1, beams)
        self.position = torch.cat([self.position, now], 1)
        self.next_position = self.next_position + 1
        furthest = self.model.distance_bias.num_embeddings - 1
        distance = (now[:, :, None] - self.position[:, None, :]).clamp(0, furthest)
        with torch.no_grad():
            logits, self.past = self.model(torch.from_numpy(ids), distance, self.seen, self.past)
        return logits
