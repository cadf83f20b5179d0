"""Tests of the wrapper that need neither a GPU nor PyTorch: python3 test_espalier_cuda.py LIBRARY

LIBRARY is libespalier_cuda_emulated.so, whose device memory is memory of this process.
"""

from __future__ import annotations

import array
import ctypes
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import espalier_cuda
from espalier_cuda import Beams, EspalierError

ROOT = Path(__file__).resolve().parents[2]


class DeviceMemory:
    """Arrays in the memory of the stand-in for a device."""

    def __init__(self, library: espalier_cuda.Library):
        self.functions = library.functions
        self.functions.esp_cuda_emulated_allocate.argtypes = [ctypes.c_size_t]
        self.functions.esp_cuda_emulated_allocate.restype = ctypes.c_void_p
        self.functions.esp_cuda_emulated_free.argtypes = [ctypes.c_void_p]
        self.addresses: list[int] = []

    def array(self, letter: str, values: list) -> ctypes.Array:
        """:returns: a ctypes array that lies on the device; address_of() has its address"""
        kind = {"I": ctypes.c_uint32, "i": ctypes.c_int32, "f": ctypes.c_float, "H": ctypes.c_uint16}[letter] * len(values)
        address = self.functions.esp_cuda_emulated_allocate(ctypes.sizeof(kind))
        self.addresses.append(address)
        made = kind.from_address(address)
        made[:] = values
        return made

    def beams(self, requests: int, width: int) -> tuple[Beams, dict[str, ctypes.Array]]:
        names = {"counts": "I", "scores": "f", "parent_beams": "I", "codes": "I", "node_lo": "I", "node_hi": "I", "bad_beams": "i"}
        few = ("counts", "bad_beams")
        arrays = {name: self.array(letter, [0] * (requests if name in few else requests * width)) for name, letter in names.items()}
        return Beams(**{name: ctypes.addressof(values) for name, values in arrays.items()}), arrays

    def wait(self) -> None:
        assert self.functions.esp_cuda_emulated_synchronize() == 0

    def free(self) -> None:
        for address in self.addresses:
            self.functions.esp_cuda_emulated_free(address)


class FakeTensor:
    """As much of a tensor as the wrapper looks at."""

    def __init__(self, address: int, count: int, item_size: int, dtype: str, is_contiguous: bool = True):
        self.address, self.count, self.item_size, self.dtype, self.contiguous = address, count, item_size, dtype, is_contiguous

    def data_ptr(self) -> int:
        return self.address

    def numel(self) -> int:
        return self.count

    def element_size(self) -> int:
        return self.item_size

    def is_contiguous(self) -> bool:
        return self.contiguous



class Layout(unittest.TestCase):
    def test_structures_are_laid_out_as_a_c_compiler_does(self) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")
        if compiler is None:
            self.skipTest("no C compiler")
        lines = []
        for structure in espalier_cuda.STRUCTURES:
            name = structure.c_name
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            for field in structure._fields_:
                member = f"(({name} *)0)->{field[0]}"
                lines.append(f'printf("{name}.{field[0]} %zu %zu\\n", offsetof({name}, {field[0]}), sizeof({member}));')
        body = "\n  ".join(lines)
        source = f'#include <stddef.h>\n#include <stdio.h>\n#include "espalier_cuda.h"\nint main(void) {{\n  {body}\n  return 0;\n}}\n'
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "layout"
            (Path(folder) / "layout.c").write_text(source)
            include = str(ROOT / "native/include")
            subprocess.run([compiler, "-x", "c", "-I", include, "-o", str(program), str(Path(folder) / "layout.c")], check=True)
            printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
        expected = printed.splitlines()
        found = []
        for structure in espalier_cuda.STRUCTURES:
            found.append(f"{structure.c_name} {ctypes.sizeof(structure)}")
            for field in structure._fields_:
                descriptor = getattr(structure, field[0])
                found.append(f"{structure.c_name}.{field[0]} {descriptor.offset} {descriptor.size}")
        self.assertEqual(found, expected)

    def test_structures_have_every_field_of_the_headers(self) -> None:
        text = (ROOT / "native/include/espalier.h").read_text() + (ROOT / "native/include/espalier_cuda.h").read_text()
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        for structure in espalier_cuda.STRUCTURES:
            body = re.search(rf"typedef struct {structure.c_name} {{(.*?)}} {structure.c_name};", text, re.S)
            assert body is not None, structure.c_name
            names = re.findall(r"(\w+)(?:\[\w+\])?;", body.group(1))
            self.assertEqual([field[0] for field in structure._fields_], names, structure.c_name)

    def test_constants_are_the_headers(self) -> None:
        text = (ROOT / "native/include/espalier_cuda.h").read_text()
        self.assertIn(f"#define ESP_CUDA_ABI {espalier_cuda.ABI}u", text)


class Decoding(unittest.TestCase):
    LEVELS, SIZE, WIDTH, REQUESTS = 3, 12, 6, 3

    @classmethod
    def setUpClass(cls) -> None:
        cls.native = espalier_cuda.load(LIBRARY)
        cls.context = cls.native.open(0)
        cls.memory = DeviceMemory(cls.native)
        cls.random = random.Random(SEED)
        cls.sids = [tuple(cls.random.randrange(cls.SIZE) for _ in range(cls.LEVELS)) for _ in range(300)]
        cls.sids += cls.sids[:20]
        flat = array.array("H", [code for sid in cls.sids for code in sid])
        cls.trie = cls.native.build_trie(flat, [cls.SIZE] * cls.LEVELS, threads=1)
        cls.on_device = cls.context.upload(cls.trie)

    @classmethod
    def tearDownClass(cls) -> None:
        for handle in (cls.on_device, cls.trie, cls.context):
            handle.close()
        cls.memory.free()

    def test_leaves_are_the_sorted_sids_and_know_their_rows(self) -> None:
        leaves = sorted(set(self.sids))
        codes = self.trie.codes()
        self.assertEqual([tuple(codes[leaf, level] for level in range(self.LEVELS)) for leaf in range(self.trie.leaf_count)], leaves)
        for leaf, sid in enumerate(leaves):
            self.assertEqual(self.trie.rows_of_leaf(leaf), [row for row, other in enumerate(self.sids) if other == sid])

    def test_live_leaves_are_those_with_an_allowed_row(self) -> None:
        allowed = [self.random.random() < 0.3 for _ in self.sids]
        bits = self.trie.live_leaves(allowed)
        for leaf, sid in enumerate(sorted(set(self.sids))):
            is_live = any(flag for flag, other in zip(allowed, self.sids) if other == sid)
            self.assertEqual(bool(bits[leaf // 64] >> (leaf % 64) & 1), is_live, sid)

    def decode(self, constraints: list, live: list[set], logit_type: str, normalize: str = "vocabulary") -> None:
        """All levels on the device; each step is compared with brute force over lists of SIDs."""
        leaves = sorted(set(self.sids))
        offset = 5
        vocab = self.SIZE + offset + 3
        batch = self.context.batch(constraints, self.WIDTH, vocab, logit_type, normalize)
        beams, found = None, {}
        prefixes: list[list[tuple[tuple, float]]] = [[((), 0.0)] for _ in constraints]
        for depth in range(self.LEVELS):
            rows = len(constraints) * (1 if depth == 0 else self.WIDTH)
            # Whole numbers of quarters are exact in every type.
            values = [self.random.randrange(-40, 40) / 4 for _ in range(rows * vocab)]
            letter = "f" if logit_type == "float32" else "H"
            encoded = values if letter == "f" else [bits_of_half(value, logit_type) for value in values]
            logits = self.memory.array(letter, encoded)
            into, arrays = self.memory.beams(len(constraints), self.WIDTH)
            batch.step(depth, ctypes.addressof(logits), into=into, beams=beams, token_offset=offset)
            self.memory.wait()
            for request, _ in enumerate(constraints):
                expected = []
                for beam, (prefix, score) in enumerate(prefixes[request]):
                    row = request if depth == 0 else request * self.WIDTH + beam
                    line = values[row * vocab : (row + 1) * vocab]
                    codes = sorted({sid[depth] for sid in live[request] if sid[:depth] == prefix})
                    read = line if normalize == "vocabulary" else [line[offset + code] for code in codes]
                    normalizer = math.log(sum(math.exp(value) for value in read))
                    expected += [(score + line[offset + code] - normalizer, beam, code, prefix + (code,)) for code in codes]
                expected.sort(key=lambda child: (-child[0], child[1], child[2]))
                count = arrays["counts"][request]
                self.assertEqual(count, min(self.WIDTH, len(expected)))
                self.assertEqual(arrays["bad_beams"][request], -1)
                prefixes[request] = []
                for rank in range(count):
                    at = request * self.WIDTH + rank
                    score, beam, code, prefix = expected[rank]
                    self.assertAlmostEqual(arrays["scores"][at], score, delta=2e-5)
                    mine = (arrays["parent_beams"][at], arrays["codes"][at])
                    # Only children whose scores the last bits may order may stand elsewhere.
                    ties = [other for other in expected if abs(other[0] - score) < 2e-5]
                    self.assertIn(mine, [other[1:3] for other in ties])
                    chosen = next(other for other in ties if other[1:3] == mine)
                    lo, hi = arrays["node_lo"][at], arrays["node_hi"][at]
                    self.assertEqual(leaves[lo:hi], [sid for sid in leaves if sid[: depth + 1] == chosen[3]])
                    prefixes[request].append((chosen[3], arrays["scores"][at]))
            beams, found = into, arrays
        for request, _ in enumerate(constraints):
            for rank in range(found["counts"][request]):
                leaf = found["node_lo"][request * self.WIDTH + rank]
                self.assertIn(self.sids[self.trie.rows_of_leaf(leaf)[0]], live[request])
        batch.close()

    def test_a_decode_over_all_levels_is_brute_force(self) -> None:
        leaves = sorted(set(self.sids))
        for logit_type in espalier_cuda.LOGIT_TYPES:
            for normalize in ("vocabulary", "live"):
                allowed = [self.random.random() < 0.2 for _ in self.sids]
                in_set = self.on_device.upload_set(self.trie.live_leaves(allowed))
                self.assertGreater(in_set.byte_count, 0)
                dead = self.random.sample(range(len(leaves)), 100)
                constraints = [self.on_device.constraint(), self.on_device.constraint(in_set), self.on_device.constraint(in_set, dead)]
                of_set = {sid for flag, sid in zip(allowed, self.sids) if flag}
                live = [set(leaves), of_set, of_set - {leaves[leaf] for leaf in dead}]
                self.decode(constraints, live, logit_type, normalize)
                for handle in (*constraints, in_set):
                    handle.close()

    def test_a_constraint_can_be_replaced(self) -> None:
        only = [sid == self.sids[0] for sid in self.sids]
        in_set = self.on_device.upload_set(self.trie.live_leaves(only))
        constraint = self.on_device.constraint(in_set)
        batch = self.context.batch([self.on_device.constraint()], self.WIDTH, self.SIZE)
        logits = self.memory.array("f", [0.0] * self.SIZE)
        into, arrays = self.memory.beams(1, self.WIDTH)
        batch.set_constraint(0, constraint)
        batch.step(0, ctypes.addressof(logits), into=into)
        self.memory.wait()
        self.assertEqual((arrays["counts"][0], arrays["codes"][0]), (1, self.sids[0][0]))
        batch.close()

    def test_memory_is_reported_and_given_back(self) -> None:
        before = self.context.memory()
        again = self.context.upload(self.trie)
        during = self.context.memory()
        self.assertEqual(during.trie_bytes - before.trie_bytes, again.byte_count)
        again.close()
        again.close()
        self.assertEqual(self.context.memory().trie_bytes, before.trie_bytes)
        with self.assertRaisesRegex(EspalierError, "has been closed"):
            again.constraint()

    def test_what_does_not_fit_is_refused(self) -> None:
        everything = self.on_device.constraint()
        batch = self.context.batch([everything], self.WIDTH, self.SIZE)
        into, _ = self.memory.beams(1, self.WIDTH)
        logits = ctypes.addressof(self.memory.array("f", [0.0] * self.SIZE * self.WIDTH))
        cases = [
            (ValueError, "every depth but 0", lambda: batch.step(1, logits, into=into)),
            (ValueError, "logits must be float32", lambda: batch.step(0, FakeTensor(logits, 12, 2, "torch.float16"), into=into)),
            (ValueError, "at least 12 entries", lambda: batch.step(0, FakeTensor(logits, 11, 4, "torch.float32"), into=into)),
            (ValueError, "contiguous", lambda: batch.step(0, FakeTensor(logits, 12, 4, "torch.float32", False), into=into)),
            (TypeError, "tensor on the device", lambda: batch.step(0, [0.0] * 12, into=into)),
            (EspalierError, "SHAPE.*depth must be < 3, found 7", lambda: batch.step(7, logits, into=into, beams=self.memory.beams(1, self.WIDTH)[0])),
            (EspalierError, "SHAPE", lambda: batch.step(0, logits + 1, into=into)),
            (EspalierError, "SHAPE", lambda: batch.step(0, logits, into=into, token_offset=1)),
            (EspalierError, "SHAPE.*1024", lambda: self.context.batch([everything], 2000, self.SIZE)),
            (ValueError, "logit_type must be one of", lambda: self.context.batch([everything], 5, self.SIZE, "float64")),
            (ValueError, "rows of 3 codes", lambda: self.native.build_trie(array.array("H", [1, 2]), [4, 4, 4])),
            (EspalierError, "SHAPE.*code", lambda: self.native.build_trie(array.array("H", [1, 9, 2]), [4, 4, 4])),
            (ValueError, "integers", lambda: self.native.build_trie(array.array("f", [1, 2, 3]), [4, 4, 4])),
            (ValueError, "one for each row", lambda: self.trie.live_leaves([1])),
            (ValueError, "must have 40 bytes", lambda: self.on_device.upload_set(array.array("Q", [1]))),
            (ValueError, "dead leaves must be below", lambda: self.on_device.constraint(None, [self.trie.leaf_count])),
            (EspalierError, "can't be loaded", lambda: espalier_cuda.load("/nowhere/libespalier_cuda.so")),
            (EspalierError, "UNSUPPORTED", lambda: self.native.open(9)),
        ]
        for error, words, call in cases:
            with self.subTest(words), self.assertRaisesRegex(error, words):
                call()


class Baseline(unittest.TestCase):
    def test_what_compare_times_against_reads_its_inputs_where_they_lie(self) -> None:
        try:
            import torch
        except ImportError:
            self.skipTest("no PyTorch")
        import functools

        from static_step import StaticIndex, mark_static, static_step
        from torch._inductor import compile_fx

        sids = torch.unique(torch.randint(0, 16, (300, 4), dtype=torch.int32), dim=0)
        index = StaticIndex(sids, 16)
        for depth in range(4):
            logits = torch.rand(2, 1 if depth == 0 else 3, 16)
            scores = None if depth == 0 else torch.zeros(2, 3)
            states = None if depth == 0 else torch.zeros(2, 3, dtype=torch.int32)
            for tensor in (*index.tensors(), logits, scores, states):
                if tensor is not None:
                    mark_static(tensor)
            seen = []

            def inner(graph: object, inputs: list, **options: object) -> object:
                seen.append(([at for at, one in enumerate(inputs) if hasattr(one, "shape")], list(options["static_input_idxs"])))
                return graph.forward

            torch._dynamo.reset()
            step = functools.partial(static_step, index, depth, 3, logits, scores, states)
            torch.compile(step, backend=lambda graph, inputs: compile_fx.compile_fx(graph, inputs, inner_compile=inner), fullgraph=True, dynamic=False)()
            self.assertEqual(len(seen), 1)
            tensors, static = seen[0]
            self.assertGreater(len(tensors), 1)
            self.assertEqual(sorted(static), tensors, f"depth {depth}")


def bits_of_half(value: float, logit_type: str) -> int:
    import struct

    if logit_type == "float16":
        return struct.unpack("<H", struct.pack("<e", value))[0]
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    LIBRARY = Path(sys.argv.pop(1))
    SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"test_espalier_cuda: seed {SEED} (SEED={SEED} repeats it)", flush=True)
    unittest.main(verbosity=1)
