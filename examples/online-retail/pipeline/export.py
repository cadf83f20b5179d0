"""Stage 4: the trained model -> ONNX with float16 weights and manifests (models/<name>/1/).

Weights are rounded to float16 before the export, stored as float16 and cast back by the graph, so the file
is half the size, computes in float32, and equals the rounded torch model.
"""

import json
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from dataset import load_sids
from model import causal, load
from onnx_contracts import DecoderWithPast, Logits
from settings import BOS, CONTEXT_ITEMS, MODELS, PAD, WORK
from tokens import Tokens

OPSET = 17
MAX_BYTES = 6_000_000


def halve_weights(path):
    """Rewrites float32 initialisers as float16 followed by a Cast; refuses to lose anything."""
    graph_file = onnx.load(path)
    graph = graph_file.graph
    casts, kept = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size == 1:
            kept.append(tensor)
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            raise ValueError(f"{tensor.name} is not float16-rounded")
        kept.append(numpy_helper.from_array(half, tensor.name + "_half"))
        casts.append(helper.make_node("Cast", [tensor.name + "_half"], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(casts + nodes)
    onnx.checker.check_model(graph_file)
    onnx.save(graph_file, path)


def manifest(name, contract, tokens):
    return {
        "name": name, "contract": contract,
        "files": {"model": "model.onnx"},
        "sid": {"codebookSizes": tokens.codebook_sizes},
        "tokens": {"bos": BOS, "pad": PAD, "levelOffsets": tokens.level_offsets},
        "context": {"maxItems": CONTEXT_ITEMS, "order": "oldestFirst"},
        "providers": ["cpu"],
    }


def export(name, contract, module, tokens):
    folder = MODELS / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    inputs, outputs = module.names()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on Python integers that are constant here
        torch.onnx.export(module, module.example(), str(path), input_names=inputs, output_names=outputs,
                          dynamic_axes=module.dynamic_axes(), opset_version=OPSET, do_constant_folding=True)
    halve_weights(str(path))
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size} bytes, at most {MAX_BYTES} allowed")
    (folder / "model.json").write_text(json.dumps(manifest(name, contract, tokens), indent=2) + "\n")
    print(f"{name}: {size} bytes")


def write_check(model, tokens, rows=50):
    """Rows of unequal length with torch's logits at their end and one token later, for check-onnx.mjs."""
    cases = []
    for row in range(rows):
        length = 1 + row * (tokens.context_tokens - 3) // (rows - 1)
        ids = torch.cat([torch.tensor([BOS]), torch.randint(2, tokens.vocab_size, (length,))])
        with torch.no_grad():
            logits, _ = model(ids[None], *causal(len(ids)))
        cases.append({"ids": ids.tolist(), "atPrompt": logits[0, -2].tolist(), "atEnd": logits[0, -1].tolist()})
    (WORK / "onnx-check.json").write_text(json.dumps({
        "layers": model.settings["layers"], "heads": model.settings["heads"],
        "headWidth": model.settings["width"] // model.settings["heads"], "cases": cases}))


def main():
    tokens = Tokens(load_sids())
    model = load(WORK / "model-test.pt", half_rounded=True)
    torch.manual_seed(0)
    export("retail", "decoder-with-past", DecoderWithPast(model).eval(), tokens)
    export("retail-logits", "logits", Logits(model).eval(), tokens)
    write_check(model, tokens)
    print(f"{sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
