"""STATIC's constrained decode step (arXiv 2602.22647) written with tensor operations: what a PyTorch program does.

Dense tables for the first two levels and CSR below them; each step is a log-softmax, a gather of the next tokens, a
mask, and a top-k over beams and tokens. The shapes of a level don't change, so torch.compile can capture it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import torch
import torch._dynamo

DENSE_LEVELS = 2


@dataclass
class Transitions:
    """One level below the dense ones: those of state s are entries [indptr[s], indptr[s + 1])."""

    indptr: torch.Tensor
    tokens: torch.Tensor
    next_states: torch.Tensor
    most_branches: int


class StaticIndex:
    """The tables of a catalog. A state of depth 1 is its code, one of a deeper level its rank among the level's nodes."""

    def __init__(self, sids: torch.Tensor, vocab_size: int):
        """:param sids: int32 [leaves, levels], sorted, without repeats, on the device that decodes; a token is its code."""
        leaves, levels = sids.shape
        self.vocab_size = vocab_size
        self.level_count = levels
        # Whether a node of depth d + 1 begins at a leaf, and how many have begun by then.
        begins = torch.ones((leaves,), dtype=torch.bool, device=sids.device)
        differs = torch.zeros((leaves,), dtype=torch.bool, device=sids.device)
        self._ranks: list[torch.Tensor] = []
        self.transitions: dict[int, Transitions] = {}
        starts: list[torch.Tensor] = []
        for depth in range(levels):
            differs[1:] |= sids[1:, depth] != sids[:-1, depth]
            begins = differs.clone()
            begins[0] = True
            self._ranks.append((torch.cumsum(begins, 0, dtype=torch.int32) - 1))
            starts.append(torch.nonzero(begins).flatten())
        self.start_mask = torch.zeros((vocab_size,), dtype=torch.bool, device=sids.device)
        self.start_mask[sids[:, 0].long()] = True
        if levels > 1:
            first = starts[1]
            at = sids[first, 0].long() * vocab_size + sids[first, 1].long()
            self.dense_mask = torch.zeros((vocab_size * vocab_size,), dtype=torch.bool, device=sids.device)
            self.dense_mask[at] = True
            self.dense_states = torch.zeros((vocab_size * vocab_size,), dtype=torch.int32, device=sids.device)
            self.dense_states[at] = torch.arange(len(first), dtype=torch.int32, device=sids.device)
            self.dense_mask = self.dense_mask.view(vocab_size, vocab_size)
            self.dense_states = self.dense_states.view(vocab_size, vocab_size)
        for depth in range(DENSE_LEVELS, levels):
            # Children of a node are neighbours: its first child is the node that begins where it begins.
            first_child = self._ranks[depth][starts[depth - 1]]
            end = torch.tensor([len(starts[depth])], dtype=torch.int32, device=sids.device)
            indptr = torch.cat([first_child, end])
            tokens = sids[starts[depth], depth].contiguous()
            following = torch.arange(len(tokens), dtype=torch.int32, device=sids.device)
            self.transitions[depth] = Transitions(indptr, tokens, following, int((indptr[1:] - indptr[:-1]).max()))

    def tensors(self) -> list[torch.Tensor]:
        """All that a step may read of it."""
        found = [self.start_mask]
        if self.level_count > 1:
            found += [self.dense_mask, self.dense_states]
        for level in self.transitions.values():
            found += [level.indptr, level.tokens, level.next_states]
        return found

    def states_of(self, depth: int, first_leaves: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """The states of nodes of this depth, by their first leaves and last codes."""
        return codes if depth == 1 else self._ranks[depth - 1][first_leaves.long()]


def mark_static(tensor: torch.Tensor) -> None:
    """Says that a tensor stays where it is: torch.compile then captures its address, where it would copy it in each call."""
    torch._dynamo.mark_static_address(tensor)


def static_step(
    index: StaticIndex, depth: int, beam_width: int, logits: torch.Tensor, scores: Optional[torch.Tensor], states: Optional[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step.

    :param logits: [requests, beams, vocab_size]; at depth 0 one beam a request.
    :param scores, states: [requests, beams]; unused at depth 0. A score of -infinity is an absent beam.
    :returns: scores, parent beams, codes and states, [requests, beam_width], best first.
    """
    vocab_size = index.vocab_size
    requests, beams, _ = logits.shape
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    tokens = entries = valid = None
    if depth == 0:
        mask = index.start_mask
    elif depth < DENSE_LEVELS:
        mask = index.dense_mask[states.long()]
    else:
        level = index.transitions[depth]
        branch = torch.arange(level.most_branches, dtype=torch.int32, device=logits.device)
        first = level.indptr[states.long()]
        entries = first.unsqueeze(-1) + branch
        valid = entries < level.indptr[states.long() + 1].unsqueeze(-1)
        entries = torch.where(valid, entries, torch.zeros_like(entries)).long()
        tokens = level.tokens[entries]
        # One column more, for the branches that a state doesn't have.
        columns = torch.where(valid, tokens, torch.full_like(tokens, vocab_size)).long()
        mask = torch.zeros((requests, beams, vocab_size + 1), dtype=torch.bool, device=logits.device)
        mask = mask.scatter(-1, columns, True)[..., :vocab_size]
    masked = log_probs.masked_fill(~mask, -torch.inf)
    if depth > 0:
        masked = masked + scores.unsqueeze(-1)
    flat = masked.reshape(requests, -1)
    best, at = torch.topk(flat, min(beam_width, flat.shape[1]), dim=-1)
    parents = torch.div(at, vocab_size, rounding_mode="floor")
    codes = at % vocab_size
    return best, parents, codes, _next_states(index, depth, states, parents, codes, tokens, entries, valid)


def _next_states(index: StaticIndex, depth: int, states: Any, parents: Any, codes: Any, tokens: Any, entries: Any, valid: Any) -> torch.Tensor:
    if depth == 0:
        return codes.int()
    if depth < DENSE_LEVELS:
        return index.dense_states[states.gather(1, parents).long(), codes]
    wide = parents.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
    is_chosen = (tokens.gather(1, wide) == codes.unsqueeze(-1)) & valid.gather(1, wide)
    place = is_chosen.to(torch.uint8).argmax(-1, keepdim=True)
    entry = entries.gather(1, wide).gather(-1, place).squeeze(-1)
    return index.transitions[depth].next_states[entry]
