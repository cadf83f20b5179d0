"""The two ways the model is exported: the names and shapes the server knows, around one Retriever."""

import torch
from torch import nn


class DecoderWithPast(nn.Module):
    """Contract decoder-with-past, with Optimum's names.

    Where the past's tokens stand is read off the attention mask, so rows of different lengths can share a
    batch, padded on the left. The logits are those of the last position only: [rows, vocab].
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, *past):
        pairs = list(zip(past[0::2], past[1::2]))
        key_position = attention_mask.cumsum(1) - 1
        back = position_ids[:, :, None] - key_position[:, None, :]
        visible = (back >= 0) & (attention_mask[:, None, :] > 0)
        distance = back.clamp(0, self.model.settings["context_tokens"] - 1)
        logits, present = self.model(input_ids, distance, visible, pairs, last_only=True)
        return (logits[:, 0],) + tuple(tensor for pair in present for tensor in pair)

    def names(self):
        layers = range(self.model.settings["layers"])
        past = [f"past_key_values.{layer}.{part}" for layer in layers for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for layer in layers for part in ("key", "value")]
        return ["input_ids", "attention_mask", "position_ids"] + past, ["logits"] + present

    def dynamic_axes(self):
        inputs, outputs = self.names()
        axes = {"input_ids": {0: "batch", 1: "sequence"}, "attention_mask": {0: "batch", 1: "total"},
                "position_ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}}
        axes.update({name: {0: "batch", 2: "past"} for name in inputs[3:]})
        axes.update({name: {0: "batch", 2: "total"} for name in outputs[1:]})
        return axes

    def example(self, rows=2, past=3, new=4):
        s = self.model.settings
        shape = (rows, s["heads"], past, s["width"] // s["heads"])
        return (torch.randint(2, s["vocab_size"], (rows, new)), torch.ones(rows, past + new, dtype=torch.long),
                torch.arange(past, past + new)[None].repeat(rows, 1),
                *(torch.randn(shape) for _ in range(2 * s["layers"])))


class Logits(nn.Module):
    """Contract logits: rows of equal length in, logits of the last position out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        position = torch.ones_like(input_ids[:1]).cumsum(1)  # not arange: the length must stay dynamic
        back = position[:, :, None] - position[:, None, :]
        distance = back.clamp(0, self.model.settings["context_tokens"] - 1)
        logits, _ = self.model(input_ids, distance, back >= 0, last_only=True)
        return logits[:, 0]

    def names(self):
        return ["input_ids"], ["logits"]

    def dynamic_axes(self):
        return {"input_ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}}

    def example(self, rows=2, length=7):
        return (torch.randint(2, self.model.settings["vocab_size"], (rows, length)),)
