"""Makes the model that the catalog of 20 million items needs: /usr/bin/python3 make_model.py (Debian: python3-onnx).

Four levels of 256 codes, so that few items share a SID. It stands for no real model: nobody asks it for anything.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).parent / "models" / "sids" / "1"
LEVELS = 4
CODES = 256
VOCAB = 2 + LEVELS * CODES

random = np.random.RandomState(0)
rows = numpy_helper.from_array(random.randn(VOCAB, 1).astype(np.float32), "rows")
columns = numpy_helper.from_array(random.randn(VOCAB).astype(np.float32), "columns")
nodes = [
    helper.make_node("Gather", ["rows", "input_ids"], ["row"]),
    helper.make_node("Add", ["row", "columns"], ["logits"]),
]
inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "sequence"])]
outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", "sequence", VOCAB])]
graph = helper.make_graph(nodes, "sids", inputs, outputs, [rows, columns])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
FOLDER.mkdir(parents=True, exist_ok=True)
onnx.save(model, FOLDER / "model.onnx")
manifest = {
    "name": "sids",
    "contract": "logits",
    "files": {"model": "model.onnx"},
    "sid": {"codebookSizes": [CODES] * LEVELS},
    "tokens": {"bos": 1, "pad": 0, "levelOffsets": [2 + CODES * level for level in range(LEVELS)]},
    "context": {"maxItems": 20, "order": "oldestFirst"},
    "providers": ["cpu"],
}
(FOLDER / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")
