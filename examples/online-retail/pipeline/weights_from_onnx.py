"""The trained model from its exported ONNX file, for when intermediate/ is not there: same weights, float16-rounded.

Most initialisers still have the name of their parameter. Those of linear layers don't: the exporter transposes them
under a name of its own, so they are found by the MatMul that reads them.
"""

import re

import onnx
import torch
from onnx import numpy_helper

from model import Retriever

LINEAR = re.compile(r"^/model/(blocks\.\d+/\w+)/MatMul$")


def load_exported(path):
    """The Retriever of `models/retail/1/model.onnx`, in evaluation mode."""
    graph = onnx.load(str(path)).graph
    values = {tensor.name.removesuffix("_half"): torch.from_numpy(numpy_helper.to_array(tensor).astype("float32"))
              for tensor in graph.initializer}
    weights = {name.removeprefix("model."): value for name, value in values.items() if name.startswith("model.")}
    for node in graph.node:
        linear = LINEAR.match(node.name)
        if node.op_type == "MatMul" and linear:
            weights[linear[1].replace("/", ".") + ".weight"] = values[node.input[1]].t()
    vocab_size, width = weights["token.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    context_tokens, biases = weights["distance_bias.weight"].shape
    model = Retriever(vocab_size, context_tokens, width, layers, biases // layers, 0.0)
    model.load_state_dict(weights)
    return model.eval()
