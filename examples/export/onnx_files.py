"""Weights of exported graphs: stored as float16, and once for all graphs of a model."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALIGNMENT = 64
SMALLEST_SHARED = 1024  # bytes; what is smaller stays in its graph


def finish(folder, names, weights_name, half=False):
    """Rewrites the graphs `names` in `folder` so that they read their weights from one file.

    ONNX Runtime looks for the file beside the graph. Equal weights are stored once, whatever their names.
    """
    offsets = {}
    with open(folder / weights_name, "wb") as weights:
        for name in names:
            model = onnx.load(str(folder / name))
            if half:
                halve(model.graph)
            for tensor in model.graph.initializer:
                share(tensor, weights, weights_name, offsets)
            (folder / name).write_bytes(model.SerializeToString())
            onnx.checker.check_model(str(folder / name))


def share(tensor, weights, weights_name, offsets):
    values = numpy_helper.to_array(tensor)
    content = values.tobytes()
    if len(content) < SMALLEST_SHARED:
        return
    if content not in offsets:
        weights.write(b"\0" * (-weights.tell() % ALIGNMENT))
        offsets[content] = weights.tell()
        weights.write(content)
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", weights_name), ("offset", offsets[content]), ("length", len(content))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def halve(graph):
    """float32 weights become float16 followed by a Cast, which ONNX Runtime runs once at load."""
    kept, casts = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size == 1:
            kept.append(tensor)
            continue
        rounded = values.astype(np.float16)
        if not np.array_equal(rounded.astype(np.float32), values):
            raise ValueError(f"{tensor.name} is not rounded to float16")
        kept.append(numpy_helper.from_array(rounded, tensor.name + "_half"))
        casts.append(helper.make_node("Cast", [tensor.name + "_half"], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(casts + nodes)
