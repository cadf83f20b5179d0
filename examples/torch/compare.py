"""Decodes with Espalier's kernel and with STATIC's step in PyTorch on the same card, compares the winners, and times both.

    python3 examples/torch/compare.py [--rows 20000000] [--out torch.json] [--seconds 120] [--library libespalier_cuda.so]

Without PyTorch or a GPU it says "skipped: ..." and ends with 0. --emulated runs it small on the CPU, where nothing is timed,
against libespalier_cuda_emulated.so.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import sys
import time
from typing import Any, Callable, Iterator

import espalier_cuda

LEVELS = 8
TIMED_DEPTHS = (0, 1, 2, 4)
# Steps in one captured graph.
GRAPH_STEPS = 16


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", dest="shared_object")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=120, help="begins no row after so long")
    parser.add_argument("--out", help="where the JSON goes")
    parser.add_argument("--emulated", action="store_true")
    return parser.parse_args()


def skip_reason(is_emulated: bool) -> str | None:
    try:
        import torch
    except ImportError as error:
        return f"no PyTorch ({error})"
    if is_emulated:
        return None
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU"
    return None if hasattr(torch, "compile") else f"PyTorch {torch.__version__} has no torch.compile"


class Place:
    """Where tensors lie: on the GPU, or in the memory of its stand-in."""

    def __init__(self, library: espalier_cuda.Library, is_emulated: bool):
        import torch

        self.torch = torch
        self.native = library
        self.is_emulated = is_emulated
        self.device = "cpu" if is_emulated else "cuda"
        if is_emulated:
            library.functions.esp_cuda_emulated_allocate.argtypes = [ctypes.c_size_t]
            library.functions.esp_cuda_emulated_allocate.restype = ctypes.c_void_p

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        if not self.is_emulated:
            return self.torch.zeros(shape, dtype=dtype, device="cuda")
        count = 1
        for extent in shape:
            count *= extent
        size = self.torch.empty((), dtype=dtype).element_size()
        address = self.native.functions.esp_cuda_emulated_allocate(count * size)
        memory = (ctypes.c_char * (count * size)).from_address(address)
        tensor = self.torch.frombuffer(memory, dtype=dtype).view(shape)
        return tensor.zero_()

    def beams(self, requests: int, width: int) -> espalier_cuda.Beams:
        torch = self.torch
        wide = (requests, width)
        ints = [self.zeros(wide, torch.int32) for _ in range(4)]
        counts, bad = self.zeros((requests,), torch.int32), self.zeros((requests,), torch.int32)
        return espalier_cuda.Beams(counts, self.zeros(wide, torch.float32), *ints, bad)

    def wait(self) -> None:
        if self.is_emulated:
            self.native.functions.esp_cuda_emulated_synchronize()
        else:
            self.torch.cuda.synchronize()

    def stream(self) -> Any:
        return None if self.is_emulated else self.torch.cuda.current_stream()


def timed(place: Place, call: Callable[[], Any], calls: int, steps: int = 1, samples: int = 30, warm_up: int = 5) -> dict[str, float]:
    """Microseconds for one step, between two events around `calls` calls of `steps` steps each."""
    if place.is_emulated:
        call()
        place.wait()
        return {}
    torch = place.torch
    found = []
    for sample in range(warm_up + samples):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        for _ in range(calls):
            call()
        after.record()
        torch.cuda.synchronize()
        if sample >= warm_up:
            found.append(before.elapsed_time(after) * 1000 / (calls * steps))
    found.sort()
    return {"median": round(found[len(found) // 2], 3), "p95": round(found[min(len(found) - 1, len(found) * 95 // 100)], 3)}


def captured(place: Place, call: Callable[[], None], times: int) -> Callable[[], None]:
    """A replay of `times` calls, which have been captured in one CUDA graph."""
    if place.is_emulated:
        return call
    torch = place.torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return graph.replay


def near(ours: Any, theirs: Any) -> float:
    """How far two scores of the same rank may be apart: the log-sum-exps' last bits, which then also order neighbours."""
    return 4e-6 * max(16.0, abs(ours), abs(theirs))


def differing_requests(beams: espalier_cuda.Beams, theirs: tuple[Any, ...]) -> int:
    """Requests whose winners differ by more than a swap of neighbours with nearly equal scores."""
    counts, scores = beams.counts.tolist(), beams.scores.tolist()
    parents, codes = beams.parent_beams.tolist(), beams.codes.tolist()
    their_scores, their_parents, their_codes = (values.tolist() for values in theirs[:3])
    different = 0
    for request, count in enumerate(counts):
        live = [rank for rank, score in enumerate(their_scores[request]) if score != float("-inf")]
        is_equal = len(live) == count
        for rank in range(count if is_equal else 0):
            ours = scores[request][rank]
            is_equal &= abs(ours - their_scores[request][rank]) <= near(ours, their_scores[request][rank])
            winner = (parents[request][rank], codes[request][rank])
            close = [other for other in range(count) if abs(ours - their_scores[request][other]) <= near(ours, their_scores[request][other])]
            is_among = any(winner == (their_parents[request][other], their_codes[request][other]) for other in close)
            # The last ones may have been pushed out by an equal.
            is_equal &= is_among or count - 1 in close
        different += not is_equal
    return different


def wrong_states(index: Any, depth: int, beams: espalier_cuda.Beams, theirs: tuple[Any, ...]) -> int:
    """Winners of both whose states, where a program would go on from, are not those of our nodes."""
    states = index.states_of(depth + 1, beams.node_lo, beams.codes)
    is_live = beams.scores.new_tensor(range(beams.scores.shape[1])) < beams.counts.unsqueeze(-1)
    is_same = is_live & (beams.parent_beams == theirs[1]) & (beams.codes == theirs[2])
    return int((is_same & (states != theirs[3])).sum())


def rows_of(place: Place, options: argparse.Namespace, index: Any, on_device: espalier_cuda.DeviceTrie, context: Any, requests: int, width: int, logit_type: str) -> Iterator[dict[str, Any]]:
    """Decodes a batch level by level with our beams; at the timed levels both take the step, and are timed."""
    from static_step import mark_static, static_step

    torch = place.torch
    dtype = getattr(torch, logit_type)
    everything = on_device.constraint()
    batch = context.batch([everything] * requests, beam_width=width, vocab_size=options.vocab_size, logit_type=logit_type)
    generator = torch.Generator(device=place.device).manual_seed(7)
    beams = None
    for depth in range(max(TIMED_DEPTHS) + 1):
        rows = requests * (1 if depth == 0 else width)
        logits = place.zeros((rows, options.vocab_size), dtype)
        logits.copy_(((torch.rand((rows, options.vocab_size), generator=generator, device=place.device) - 0.5) * 20).to(dtype))
        into = place.beams(requests, width)

        def ours(stream: Any = None) -> None:
            batch.step(depth, logits, into=into, beams=beams, stream=place.stream() if stream is None else stream)

        ours()
        place.wait()
        if depth in TIMED_DEPTHS:
            shaped = logits.view(requests, -1, options.vocab_size)
            scores = states = None
            if beams is not None:
                is_live = torch.arange(width, device=place.device) < beams.counts.unsqueeze(-1)
                scores = torch.where(is_live, beams.scores, torch.full_like(beams.scores, -torch.inf))
                states = index.states_of(depth, torch.where(is_live, beams.node_lo, torch.zeros_like(beams.node_lo)), beams.codes)
            # Ours reads them where they lie, and so may theirs: under CUDA graphs PyTorch copies all other inputs in each call.
            for tensor in (*index.tensors(), shaped, scores, states):
                if tensor is not None:
                    mark_static(tensor)
            step = functools.partial(static_step, index, depth, width, shaped, scores, states)
            eager = step()
            row = {"batch": requests, "beams": width, "depth": depth, "logits": logit_type, "vocabSize": options.vocab_size}
            row["differingRequests"] = differing_requests(into, eager) + wrong_states(index, depth, into, eager)
            if row["differingRequests"] == 0:
                row.update(time_both(place, ours, step, eager))
            yield row
        beams = into


def time_both(place: Place, ours: Callable[[], None], step: Callable[[], Any], eager: tuple[Any, ...]) -> dict[str, Any]:
    torch = place.torch
    if place.is_emulated:
        ours()
        place.wait()
        return {}
    times: dict[str, Any] = {}
    # As a program calls them, one step a call: a captured step of ours, and what torch.compile captures.
    times["oursCalledUs"] = timed(place, captured(place, ours, 1), GRAPH_STEPS)
    compiled = torch.compile(step, mode="reduce-overhead", fullgraph=True, dynamic=False)

    def called() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        compiled()

    for _ in range(4):
        called()
    torch.compiler.cudagraph_mark_step_begin()
    found = [values.clone() for values in compiled()]
    times["compiledDiffers"] = not torch.allclose(found[0], eager[0], rtol=0, atol=1e-3)
    times["torchCalledUs"] = timed(place, called, GRAPH_STEPS)
    # Without the cost of calls: many steps in one graph.
    times["oursUs"] = timed(place, captured(place, ours, GRAPH_STEPS), 1, GRAPH_STEPS)
    plain = torch.compile(step, fullgraph=True, dynamic=False)
    try:
        times["torchUs"] = timed(place, captured(place, plain, GRAPH_STEPS), 1, GRAPH_STEPS)
    except RuntimeError as error:
        times["torchCaptureError"] = str(error).splitlines()[0]
    return times


def median(row: dict[str, Any], name: str) -> float:
    return row.get(name, {}).get("median", 0.0)


def print_row(row: dict[str, Any]) -> None:
    def pair(ours: str, theirs: str) -> str:
        mine, other = median(row, ours), median(row, theirs)
        ratio = f"{other / mine:.1f}x" if mine and other else "not measured"
        return f"{mine:10.2f} {other:10.2f} {ratio:>12}"

    verdict = "equal" if row["differingRequests"] == 0 and not row.get("compiledDiffers") else "DIFFERS"
    print(
        f"{row['batch']:5} {row['beams']:5} {row['depth']:5} {row['logits']:8} {pair('oursCalledUs', 'torchCalledUs')} {pair('oursUs', 'torchUs')} {verdict}",
        flush=True,
    )


def write_json(path: str, result: dict[str, Any]) -> None:
    """Whole or not at all: whoever stops this program keeps what was measured."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
    os.replace(f"{path}.part", path)


def main() -> int:
    options = arguments()
    reason = skip_reason(options.emulated)
    if reason is None:
        try:
            library = espalier_cuda.load(options.shared_object)
            context = library.open(0)
        except espalier_cuda.EspalierError as error:
            # A library that was named must be there.
            if options.shared_object is not None:
                print(f"compare: {error}", file=sys.stderr)
                return 1
            reason = str(error)
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    import torch

    from static_step import StaticIndex

    start = time.monotonic()
    if options.emulated:
        options.rows, options.vocab_size = min(options.rows, 3000), min(options.vocab_size, 64)
    place = Place(library, options.emulated)
    torch.manual_seed(42)
    sids = torch.randint(0, options.vocab_size, (options.rows, LEVELS), dtype=torch.int32)
    trie = library.build_trie(sids, [options.vocab_size] * LEVELS)
    on_device = context.upload(trie)
    codes = torch.frombuffer(trie.codes().cast("B"), dtype=torch.int16).view(trie.leaf_count, LEVELS)
    index = StaticIndex(codes.to(place.device).int() & 0xFFFF, options.vocab_size)
    name = "the CPU, emulated" if options.emulated else torch.cuda.get_device_name(0)
    print(f"compare: {name}, PyTorch {torch.__version__}; {trie.leaf_count} leaves, V={options.vocab_size}, {time.monotonic() - start:.1f} s to prepare")
    print("compare: microseconds for one step; called one by one (ours, PyTorch under reduce-overhead, ratio), and in a graph of many (ours, PyTorch, ratio)")
    print(f"{'B':>5} {'M':>5} {'depth':>5} {'logits':8} {'ours':>10} {'PyTorch':>10} {'ratio':>12} {'ours':>10} {'PyTorch':>10} {'ratio':>12}", flush=True)
    shapes = [(2, 10)] if options.emulated else [(2, 70), (32, 50)]
    logit_types = ("float32", "bfloat16")
    planned = len(shapes) * len(logit_types) * len(TIMED_DEPTHS)
    found: list[dict[str, Any]] = []
    rows = (
        row
        for requests, width in shapes
        for logit_type in logit_types
        for row in rows_of(place, options, index, on_device, context, requests, width, logit_type)
    )
    while time.monotonic() - start <= options.seconds and (row := next(rows, None)) is not None:
        found.append(row)
        print_row(row)
        if options.out:
            result = {
                "device": name,
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
                "isEmulated": options.emulated,
                "leaves": trie.leaf_count,
                "graphSteps": GRAPH_STEPS,
                "rowsLeftOut": planned - len(found),
                "rows": found,
            }
            write_json(options.out, result)
    wrong = sum(1 for row in found if row["differingRequests"] or row.get("compiledDiffers"))
    left_out = planned - len(found)
    print(f"compare: {len(found)} rows, {wrong} differ, {left_out} left out for want of time, {time.monotonic() - start:.0f} s")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
