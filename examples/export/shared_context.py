"""Exports a plain PyTorch decoder under the `shared-context` contract (docs/models.md): prefill.onnx, step.onnx.

Needs torch and onnx. The decoder is a module of this shape, whatever else it is:

    class Decoder(nn.Module):
        layers, heads, head_size: int
        def forward(self, input_ids, position_ids, attend): ...

- input_ids and position_ids are int64 [rows, tokens]; it returns logits [rows, tokens, vocab].
- Tokens meet in attention only, and attention is left to `attend(layer, query, key, value, scale, bias)`. The
  three are [rows, heads, tokens, head_size], and so is what it returns, before the output projection. A rotary
  embedding turns query and key before that, by position_ids; learned positions are added to the input.
- `scale` (default: 1 / sqrt(head_size)) goes to the scores before softmax. `bias`, where the decoder has relative
  positions, is a function: given distances (how many tokens back a key lies) int64 [rows, queries, keys], it
  returns what to add to the scores, [rows, heads or 1, queries, keys].
- `x = attend.wanted(layer, x)`, after keys and values were computed from x, keeps the tokens whose outcome
  matters: in the last layer of a prefill that is the last one. Query is then of these alone, and so is the
  residual. Nobody has to call it; it saves most of a layer.

The graphs call the same module: in prefill, rows are histories and tokens their tokens; in step, rows are requests
and tokens their beams, which don't see each other.
"""

import math
import warnings

import torch
from torch import nn

from onnx_files import finish

OPSET = 17
MASKED = -1e9  # not -inf: a padding token that sees nothing must stay finite


class PrefillAttention:
    """Causal attention over histories that are padded on the left; keeps keys and values."""

    def __init__(self, layers, attention_mask, position_ids):
        self.layers = layers
        self.mask = attention_mask
        self.positions = position_ids
        self.kept = []
        self.narrowed = False

    def wanted(self, layer, x):
        if layer < self.layers - 1:
            return x
        self.narrowed = True
        return x[:, -1:]

    def __call__(self, layer, query, key, value, scale=None, bias=None):
        self.kept += [key, value]
        asking = self.positions[:, -1:] if self.narrowed else self.positions
        distance = asking[:, :, None] - self.positions[:, None, :]
        seen = (distance >= 0) & (self.mask[:, None, :] > 0)
        scores = query @ key.transpose(-1, -2) * scale_of(query, scale)
        scores = scores + (1.0 - seen.to(scores.dtype)[:, None]) * MASKED
        if bias is not None:
            scores = scores + bias(distance.clamp(min=0))
        return scores.softmax(-1) @ value


class StepAttention:
    """Beams attend to their request's context, which they share, and to the tokens that each has of its own."""

    def __init__(self, position_ids, contexts, context_mask, pasts):
        self.contexts = contexts
        self.pasts = pasts
        # A request's beams all stand at the same position.
        self.distance = position_ids[:, :1, None] - (context_mask.cumsum(1) - 1)[:, None, :]
        self.hidden = (1.0 - context_mask[:, None, None, :].to(torch.float32)) * MASKED
        self.kept = []

    def wanted(self, layer, x):
        return x

    def __call__(self, layer, query, key, value, scale=None, bias=None):
        context_key, context_value = self.contexts[2 * layer:2 * layer + 2]
        # [batch, beams, heads, tokens of its own, head_size]
        keys, values = (torch.cat([past, new.transpose(1, 2)[:, :, :, None]], 3)
                        for past, new in zip(self.pasts[2 * layer:2 * layer + 2], (key, value)))
        self.kept += [keys, values]
        query = query * scale_of(query, scale)
        shared = query @ context_key.transpose(-1, -2) + self.hidden
        # Sums, not matrix products: a product for each beam and head, this small, costs more than all the others.
        own = (keys * query.transpose(1, 2)[:, :, :, None]).sum(-1).transpose(1, 2)
        if bias is not None:
            steps = keys.shape[3]
            back = steps - 1 - torch.arange(steps, device=keys.device)
            shared = shared + bias(self.distance.clamp(min=0))
            own = own + bias(back[None, None, :])
        weights = torch.cat([shared, own], -1).softmax(-1)
        context = context_key.shape[2]
        of_own = (weights[..., context:].transpose(1, 2)[..., None] * values).sum(3)
        return weights[..., :context] @ context_value + of_own.transpose(1, 2)


def scale_of(query, scale):
    return 1 / math.sqrt(query.shape[-1]) if scale is None else scale


class Prefill(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids, attention_mask, position_ids):
        attend = PrefillAttention(self.decoder.layers, attention_mask, position_ids)
        logits = self.decoder(input_ids, position_ids, attend)
        return (logits[:, -1], *attend.kept)

    def example(self):
        ids = torch.randint(2, 4, (2, 3))
        return ids, torch.ones_like(ids), torch.arange(3)[None].repeat(2, 1)


class Step(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids, position_ids, context_mask, *tensors):
        count = 2 * self.decoder.layers
        attend = StepAttention(position_ids, tensors[:count], context_mask, tensors[count:])
        logits = self.decoder(input_ids, position_ids, attend)
        return (logits, *attend.kept)

    def example(self, batch=2, beams=3, context=4, steps=1):
        heads, head_size, count = self.decoder.heads, self.decoder.head_size, 2 * self.decoder.layers
        return (torch.randint(2, 4, (batch, beams)), torch.full((batch, beams), context + steps),
                torch.ones(batch, context, dtype=torch.long),
                *(torch.randn(batch, heads, context, head_size) for _ in range(count)),
                *(torch.randn(batch, beams, heads, steps, head_size) for _ in range(count)))


def export(decoder, folder, half=False):
    """Writes folder/prefill.onnx, folder/step.onnx and folder/weights.bin, which both read.

    half: store weights as float16, computing in float32; they must be rounded to float16 already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{layer}.{part}" for layer in range(decoder.layers) for part in ("key", "value")]
    contexts, pasts, presents = ([f"{kind}.{name}" for name in names]
                                 for kind in ("context", "past_key_values", "present"))
    write(Prefill(decoder), folder / "prefill.onnx",
          {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask", "position_ids")},
          {"logits": {0: "batch"}, **{name: {0: "batch", 2: "sequence"} for name in contexts}})
    write(Step(decoder), folder / "step.onnx",
          {"input_ids": {0: "batch", 1: "beams"}, "position_ids": {0: "batch", 1: "beams"},
           "context_mask": {0: "batch", 1: "context"},
           **{name: {0: "batch", 2: "context"} for name in contexts},
           **{name: {0: "batch", 1: "beams", 3: "steps"} for name in pasts}},
          {"logits": {0: "batch", 1: "beams"},
           **{name: {0: "batch", 1: "beams", 3: "next_steps"} for name in presents}})
    finish(folder, ["prefill.onnx", "step.onnx"], "weights.bin", half)


def write(module, path, inputs, outputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on sizes that are constant here
        torch.onnx.export(module.eval(), module.example(), str(path), input_names=list(inputs),
                          output_names=list(outputs), dynamic_axes={**inputs, **outputs}, opset_version=OPSET)
