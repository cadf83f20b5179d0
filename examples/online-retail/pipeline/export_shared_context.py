"""Stage 4b: the exported model once more, under the contract shared-context (models/retail-shared-context/1/).

Reads the weights from models/retail/1/model.onnx, so that it needs neither the data nor the training.
"""

import json
import sys
from pathlib import Path

from torch import nn
from torch.nn import functional

from settings import MODELS
from weights_from_onnx import load_exported

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "export"))
from shared_context import export  # noqa: E402

NAME = "retail-shared-context"


class SharedContextRetriever(nn.Module):
    """A Retriever that leaves its attention to the exporter."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.layers, self.heads = model.settings["layers"], model.settings["heads"]
        self.head_size = model.settings["width"] // self.heads

    def forward(self, input_ids, position_ids, attend):
        model, width = self.model, self.heads * self.head_size
        rows, tokens = input_ids.shape
        by_head = (rows, tokens, self.heads, self.head_size)
        x = model.token(input_ids)
        for layer, block in enumerate(model.blocks):
            query, key, value = (part.reshape(by_head).transpose(1, 2)
                                 for part in block.qkv(block.attention_norm(x)).split(width, -1))
            x = attend.wanted(layer, x)
            query = attend.wanted(layer, query.transpose(1, 2)).transpose(1, 2)
            mixed = attend(layer, query, key, value, bias=lambda distance: self.bias(layer, distance))
            x = x + block.attention_out(mixed.transpose(1, 2).reshape(rows, -1, width))
            x = x + block.mlp_out(functional.gelu(block.mlp_in(block.mlp_norm(x))))
        return model.norm(x) @ model.token.weight.t()

    def bias(self, layer, distance):
        """[rows, heads, queries, keys] from distances [rows, queries, keys]."""
        of_layer = self.model.distance_bias.weight[:, layer * self.heads:(layer + 1) * self.heads]
        farthest = self.model.settings["context_tokens"] - 1
        return functional.embedding(distance.clamp(max=farthest), of_layer).permute(0, 3, 1, 2)


def main():
    source = MODELS / "retail" / "1"
    folder = MODELS / NAME / "1"
    export(SharedContextRetriever(load_exported(source / "model.onnx")), folder, half=True)
    manifest = json.loads((source / "model.json").read_text())
    manifest.update(name=NAME, contract="shared-context", files={"prefill": "prefill.onnx", "step": "step.onnx"})
    (folder / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print({path.name: path.stat().st_size for path in sorted(folder.iterdir())})


if __name__ == "__main__":
    main()
