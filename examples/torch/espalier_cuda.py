"""Espalier's decode step on a GPU, from Python: a thin, typed wrapper of libespalier_cuda.so (native/include/espalier_cuda.h).

It needs nothing but the standard library. Arrays on the host may be NumPy arrays, PyTorch tensors on the CPU,
`array.array`, or anything else with a buffer; arrays on the device PyTorch tensors, anything with
`__cuda_array_interface__`, or plain addresses. All calls raise EspalierError where the library refuses.

    library = espalier_cuda.load()
    trie = library.build_trie(sids, codebook_sizes)            # [rows, levels] codes, in any order
    context = library.open(0)
    on_device = context.upload(trie)
    in_stock = on_device.upload_set(trie.live_leaves(flags))   # one 0 or 1 for each row
    batch = context.batch([on_device.constraint(in_stock)], beam_width=70, vocab_size=2048)
    batch.step(0, logits, into=beams)                          # device tensors; see README.md
"""

from __future__ import annotations

import bisect
import ctypes
import os
import weakref
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence

ABI = 2
MAX_LEVELS = 32
MAX_BEAM_WIDTH = 1024

STATUS_NAMES = {1: "SHAPE", 2: "MEMORY", 3: "SYSTEM", 4: "CANCELLED", 5: "UNSUPPORTED", 6: "INTERNAL"}
LOGIT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
NORMALIZE = {"vocabulary": 0, "level": 1, "live": 2}


class EspalierError(RuntimeError):
    """What the library refused, in its own words. `status` is one of STATUS_NAMES' values."""

    def __init__(self, status: str, message: str):
        super().__init__(f"{status}: {message}")
        self.status = status


# ---- the C interface's structures; test_espalier_cuda.py compares them with what a C compiler lays out ----------------


class CudaDevice(ctypes.Structure):
    c_name = "esp_cuda_device"
    _fields_ = [
        ("name", c_char * 128),
        ("compute_major", c_uint32),
        ("compute_minor", c_uint32),
        ("multiprocessor_count", c_uint32),
        ("driver_version", c_uint32),
        ("runtime_version", c_uint32),
        ("total_bytes", c_uint64),
        ("free_bytes", c_uint64),
    ]


class CudaMemory(ctypes.Structure):
    c_name = "esp_cuda_memory"
    _fields_ = [
        ("trie_bytes", c_uint64),
        ("set_bytes", c_uint64),
        ("exclusion_bytes", c_uint64),
        ("scratch_bytes", c_uint64),
        ("staging_bytes", c_uint64),
        ("total_bytes", c_uint64),
        ("free_bytes", c_uint64),
    ]


class TopLevel(ctypes.Structure):
    c_name = "esp_top_level"
    _fields_ = [("node_count", c_uint32), ("codes", c_void_p), ("leaf_start", c_void_p), ("first_child", c_void_p)]


class TrieArrays(ctypes.Structure):
    c_name = "esp_trie_arrays"
    _fields_ = [
        ("leaf_count", c_uint32),
        ("level_count", c_uint32),
        ("codebook_sizes", c_uint32 * MAX_LEVELS),
        ("is_wide", c_int),
        ("rows", c_void_p),
        ("new_prefix", c_void_p * MAX_LEVELS),
        ("top_levels", TopLevel * 2),
        ("mask_count", c_uint32),
        ("mask_nodes", c_void_p),
        ("mask_bits", c_void_p),
        ("mask_ranks", c_void_p),
    ]


class Rows(ctypes.Structure):
    c_name = "esp_rows"
    _fields_ = [
        ("codes", c_void_p),
        ("dtype", c_int),
        ("row_count", c_uint64),
        ("level_count", c_uint32),
        ("codebook_sizes", POINTER(c_uint32)),
    ]


class BuildOptions(ctypes.Structure):
    c_name = "esp_build_options"
    _fields_ = [
        ("threads", c_uint32),
        ("level", c_int),
        ("mask_budget_bytes", c_uint64),
        ("progress", c_void_p),
        ("user", c_void_p),
    ]


class BuildResult(ctypes.Structure):
    c_name = "esp_build_result"
    _fields_ = [
        ("sorted_rows", c_void_p),
        ("row_count", c_uint64),
        ("shared_leaves", c_void_p),
        ("shared_start", c_void_p),
        ("shared_count", c_uint32),
    ]


class LeafItems(ctypes.Structure):
    c_name = "esp_leaf_items"
    _fields_ = [
        ("leaf_count", c_uint32),
        ("item_count", c_uint32),
        ("shared_leaves", c_void_p),
        ("shared_start", c_void_p),
        ("shared_count", c_uint32),
    ]


class BatchOptions(ctypes.Structure):
    c_name = "esp_cuda_batch_options"
    _fields_ = [
        ("request_count", c_uint32),
        ("beam_width", c_uint32),
        ("logit_type", c_int),
        ("vocab_size", c_uint32),
        ("normalize", c_int),
        ("temperature", c_float),
    ]


class BatchStep(ctypes.Structure):
    c_name = "esp_cuda_batch_step"
    _fields_ = [
        ("depth", c_uint32),
        ("logits", c_void_p),
        ("token_offset", c_uint32),
        ("token_table", c_void_p),
        ("counts", c_void_p),
        ("scores", c_void_p),
        ("node_lo", c_void_p),
        ("node_hi", c_void_p),
        ("out_counts", c_void_p),
        ("out_scores", c_void_p),
        ("out_parent_beams", c_void_p),
        ("out_codes", c_void_p),
        ("out_node_lo", c_void_p),
        ("out_node_hi", c_void_p),
        ("out_bad_beams", c_void_p),
    ]


STRUCTURES = [CudaDevice, CudaMemory, TopLevel, TrieArrays, Rows, BuildOptions, BuildResult, LeafItems, BatchOptions, BatchStep]

# Name, arguments, and the result where it is no status.
_FUNCTIONS: list[tuple[str, list[Any], Any]] = [
    ("esp_last_error", [], c_char_p),
    ("esp_level_best", [], c_int),
    ("esp_trie_build", [POINTER(Rows), POINTER(BuildOptions), POINTER(c_void_p)], None),
    ("esp_trie_view", [c_void_p], POINTER(TrieArrays)),
    ("esp_trie_build_result", [c_void_p], POINTER(BuildResult)),
    ("esp_trie_release", [c_void_p], "void"),
    ("esp_item_starts", [POINTER(LeafItems), c_void_p], None),
    ("esp_set_from_items", [c_int, POINTER(LeafItems), c_void_p, c_void_p, c_void_p, c_void_p], None),
    ("esp_set_derive", [c_int, c_void_p, c_void_p, c_void_p, c_void_p], None),
    ("esp_cuda_abi", [], c_uint32),
    ("esp_cuda_probe", [c_uint32, POINTER(CudaDevice)], None),
    ("esp_cuda_open", [c_uint32, POINTER(c_void_p)], None),
    ("esp_cuda_close", [c_void_p], "void"),
    ("esp_cuda_memory_of", [c_void_p, POINTER(CudaMemory)], None),
    ("esp_cuda_trie_upload", [c_void_p, POINTER(TrieArrays), POINTER(c_void_p)], None),
    ("esp_cuda_trie_bytes", [c_void_p], c_uint64),
    ("esp_cuda_trie_release", [c_void_p], "void"),
    ("esp_cuda_set_upload", [c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_void_p)], None),
    ("esp_cuda_set_bytes", [c_void_p], c_uint64),
    ("esp_cuda_set_release", [c_void_p], "void"),
    ("esp_cuda_constraint_create", [c_void_p, c_void_p, c_void_p, c_size_t, POINTER(c_void_p)], None),
    ("esp_cuda_constraint_release", [c_void_p], "void"),
    ("esp_cuda_batch_create", [c_void_p, POINTER(BatchOptions), POINTER(c_void_p), POINTER(c_void_p)], None),
    ("esp_cuda_batch_release", [c_void_p], "void"),
    ("esp_cuda_batch_set_constraint", [c_void_p, c_uint32, c_void_p, c_void_p], None),
    ("esp_cuda_batch_run", [c_void_p, POINTER(BatchStep), c_void_p], None),
]


# ---- arrays ------------------------------------------------------------------------------------------------------------

# esp_dtype by the size of an entry and whether it is signed.
_DTYPES = {(1, False): 0, (2, False): 1, (4, False): 2, (4, True): 3, (8, True): 4}


@dataclass
class _HostArray:
    """Memory on the host, and what keeps it alive."""

    address: int
    length: int
    item_size: int
    is_signed: bool
    owner: Any


def _host_array(values: Any, what: str) -> _HostArray:
    if hasattr(values, "data_ptr"):
        if values.device.type != "cpu" or not values.is_contiguous():
            raise ValueError(f"{what} must be a contiguous tensor on the CPU, found one on {values.device}")
        if values.is_floating_point():
            raise ValueError(f"{what} must be integers, found {values.dtype}")
        name = str(values.dtype)
        return _HostArray(values.data_ptr(), values.numel(), values.element_size(), "uint" not in name and "bool" not in name, values)
    view = memoryview(values)
    if not view.c_contiguous or view.format not in "?bBhHiIlLqQ":
        raise ValueError(f"{what} must be contiguous integers, found format {view.format}")
    length = view.nbytes // view.itemsize
    raw = view.cast("B") if view.nbytes > 0 else memoryview(bytearray(1))
    # A buffer that can't be written can't be borrowed by ctypes.
    kind = c_char * len(raw)
    memory = kind.from_buffer_copy(raw) if raw.readonly else kind.from_buffer(raw)
    return _HostArray(ctypes.addressof(memory), length, view.itemsize, view.format.islower(), memory)


def _device_address(array: Any, what: str, item_size: Optional[int] = None, least: int = 0) -> Optional[int]:
    """The address of an array on the device. Of plain addresses nothing is known; all else is checked."""
    if array is None or isinstance(array, int):
        return array
    if hasattr(array, "data_ptr"):
        if not array.is_contiguous():
            raise ValueError(f"{what} must be contiguous")
        found_size, found = array.element_size(), array.numel()
        address = array.data_ptr()
    elif hasattr(array, "__cuda_array_interface__"):
        interface = array.__cuda_array_interface__
        if interface.get("strides") is not None:
            raise ValueError(f"{what} must be contiguous")
        found_size, found = int(interface["typestr"][2:]), 1
        for extent in interface["shape"]:
            found *= extent
        address = interface["data"][0]
    else:
        raise TypeError(f"{what} must be a tensor on the device or an address, found {type(array).__name__}")
    if item_size is not None and found_size != item_size:
        raise ValueError(f"{what} must have entries of {item_size} bytes, found {found_size}")
    if found < least:
        raise ValueError(f"{what} must have at least {least} entries, found {found}")
    return address


def _stream_address(stream: Any) -> Optional[int]:
    """A cudaStream_t: null for the default, an address, or what PyTorch calls a stream."""
    return getattr(stream, "cuda_stream", stream)


def _view_of_uint32(address: Optional[int], count: int) -> memoryview:
    if not address or count == 0:
        return memoryview(b"").cast("I")
    return memoryview((c_uint32 * count).from_address(address)).cast("B").cast("I")


def _words(bit_count: int) -> ctypes.Array:
    return (c_uint64 * max(1, (bit_count + 63) // 64))()


# ---- the library -------------------------------------------------------------------------------------------------------


class _Handle:
    """Something of the library's, released once: by close(), at the end of a `with`, or with the object."""

    def __init__(self, library: "Library", address: Optional[int], release: str):
        self.native = library
        self._address = address
        self._finalizer = weakref.finalize(self, getattr(library.functions, release), address)

    @property
    def address(self) -> int:
        if not self._finalizer.alive or self._address is None:
            raise EspalierError("SHAPE", f"this {type(self).__name__} has been closed")
        return self._address

    def close(self) -> None:
        self._finalizer()

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def default_path() -> Path:
    """ESPALIER_CUDA_LIBRARY, or where `npm run build:cuda` and native/cuda/check.sh put the library."""
    named = os.environ.get("ESPALIER_CUDA_LIBRARY")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "build/cuda/libespalier_cuda.so"


def load(path: Optional[os.PathLike[str] | str] = None) -> "Library":
    """Loads the library; no GPU is needed for that."""
    return Library(Path(path) if path is not None else default_path())


class Library:
    def __init__(self, path: Path):
        try:
            self.functions = ctypes.CDLL(str(path))
            for name, arguments, result in _FUNCTIONS:
                function = getattr(self.functions, name)
                function.argtypes = arguments
                function.restype = c_int if result is None else None if result == "void" else result
        except (OSError, AttributeError) as error:
            raise EspalierError("UNSUPPORTED", f"{path} can't be loaded: {error}") from error
        found = self.functions.esp_cuda_abi()
        if found != ABI:
            raise EspalierError("UNSUPPORTED", f"{path} has ABI {found}, expected {ABI}")
        self.path = path

    def check(self, status: int) -> None:
        if status == 0:
            return
        words = self.functions.esp_last_error() or b""
        raise EspalierError(STATUS_NAMES.get(status, f"status {status}"), words.decode("utf-8", "replace"))

    def probe(self, device: int = 0) -> CudaDevice:
        """What there is. A broken driver may take the process along: in a server ask in a child process first."""
        found = CudaDevice()
        self.check(self.functions.esp_cuda_probe(device, byref(found)))
        return found

    def open(self, device: int = 0) -> "Context":
        return Context(self, device)

    def build_trie(self, sids: Any, codebook_sizes: Sequence[int], threads: Optional[int] = None) -> "Trie":
        """Builds a static trie on the host.

        :param sids: integers [rows, levels] (or flat), each code below its level's codebook size; any order, repeats
            allowed. Borrowed for the call.
        """
        return Trie(self, sids, codebook_sizes, threads or os.cpu_count() or 1)


class Trie(_Handle):
    """A static trie on the host: the distinct SIDs in lexicographic order are its leaves."""

    def __init__(self, library: Library, sids: Any, codebook_sizes: Sequence[int], threads: int):
        rows = _host_array(sids, "sids")
        levels = len(codebook_sizes)
        dtype = _DTYPES.get((rows.item_size, rows.is_signed))
        if dtype is None:
            raise ValueError("sids must be uint8, uint16, uint32, int32 or int64")
        if levels == 0 or rows.length % levels != 0:
            raise ValueError(f"sids must be rows of {levels} codes, found {rows.length} codes")
        sizes = (c_uint32 * levels)(*codebook_sizes)
        asked = Rows(rows.address, dtype, rows.length // levels, levels, sizes)
        # Child masks may take half a byte a row, or a megabyte, as the server has it.
        options = BuildOptions(threads, library.functions.esp_level_best(), max(rows.length // levels // 2, 1 << 20), None, None)
        address = c_void_p()
        library.check(library.functions.esp_trie_build(byref(asked), byref(options), byref(address)))
        super().__init__(library, address.value, "esp_trie_release")
        self.codebook_sizes = list(codebook_sizes)
        self.row_count = rows.length // levels

    @property
    def arrays(self) -> TrieArrays:
        return self.native.functions.esp_trie_view(self.address).contents

    @property
    def leaf_count(self) -> int:
        return self.arrays.leaf_count

    @property
    def level_count(self) -> int:
        return self.arrays.level_count

    def codes(self) -> memoryview:
        """The sorted SIDs [leaves, levels], uint16 or, where a codebook exceeds 65,536, uint32; valid as long as the trie."""
        arrays = self.arrays
        kind, letter = (c_uint32, "I") if arrays.is_wide else (ctypes.c_uint16, "H")
        flat = memoryview((kind * (arrays.leaf_count * arrays.level_count)).from_address(arrays.rows)).cast("B")
        return flat.cast(letter, (arrays.leaf_count, arrays.level_count))

    def _built(self) -> BuildResult:
        return self.native.functions.esp_trie_build_result(self.address).contents

    def sorted_rows(self) -> memoryview:
        """[rows] the rows that the trie was built from, in the order of their SIDs; valid as long as the trie."""
        built = self._built()
        return _view_of_uint32(built.sorted_rows, built.row_count)

    def rows_of_leaf(self, leaf: int) -> list[int]:
        """The rows whose SID this leaf is."""
        if not 0 <= leaf < self.leaf_count:
            raise IndexError(f"leaf must be below {self.leaf_count}, found {leaf}")
        built = self._built()
        shared = _view_of_uint32(built.shared_leaves, built.shared_count)
        start = _view_of_uint32(built.shared_start, built.shared_count + 1 if built.shared_count > 0 else 0)
        before = bisect.bisect_left(shared, leaf)
        first = leaf + (start[before] - before if built.shared_count > 0 else 0)
        is_shared = before < built.shared_count and shared[before] == leaf
        count = start[before + 1] - start[before] if is_shared else 1
        return list(self.sorted_rows()[first : first + count])

    def live_leaves(self, allowed: Sequence[int]) -> ctypes.Array:
        """One bit for each leaf, set where one of its rows is allowed: what upload_set() takes.

        :param allowed: a 0 or 1, or a bool, for each row that the trie was built from.
        """
        if len(allowed) != self.row_count:
            raise ValueError(f"allowed must have {self.row_count} entries, one for each row, found {len(allowed)}")
        flags = bytes(1 if flag else 0 for flag in allowed) if not isinstance(allowed, (bytes, bytearray)) else allowed
        # Bit i of an integer is row i of the sorted rows; its digits are written by C, not one by one.
        digits = bytes(map(flags.__getitem__, self.sorted_rows()))[::-1].translate(bytes([48]) + bytes([49]) * 255)
        item_bits = _words(self.row_count)
        packed = int(digits, 2).to_bytes(len(item_bits) * 8, "little")
        ctypes.memmove(item_bits, packed, len(packed))
        built = self._built()
        items = LeafItems(self.leaf_count, self.row_count, built.shared_leaves, built.shared_start, built.shared_count)
        shared = _view_of_uint32(built.shared_start, built.shared_count + 1 if built.shared_count > 0 else 0)
        leaf_bits = _words(self.leaf_count)
        shared_bits = _words(shared[-1] if built.shared_count > 0 else 0)
        starts = _words(self.row_count + 1)
        functions = self.native.functions
        self.native.check(functions.esp_item_starts(byref(items), starts))
        level = functions.esp_level_best()
        self.native.check(
            functions.esp_set_from_items(level, byref(items), starts, item_bits, leaf_bits, shared_bits)
        )
        return leaf_bits


class Context(_Handle):
    """A device with what lies on it. Close it last."""

    def __init__(self, library: Library, device: int):
        address = c_void_p()
        library.check(library.functions.esp_cuda_open(device, byref(address)))
        super().__init__(library, address.value, "esp_cuda_close")

    def memory(self) -> CudaMemory:
        found = CudaMemory()
        self.native.check(self.native.functions.esp_cuda_memory_of(self.address, byref(found)))
        return found

    def upload(self, trie: Trie) -> "DeviceTrie":
        return DeviceTrie(self, trie)

    def batch(
        self,
        constraints: Sequence["Constraint"],
        beam_width: int,
        vocab_size: int,
        logit_type: str = "float32",
        normalize: str = "vocabulary",
        temperature: float = 1.0,
    ) -> "Batch":
        """Requests that are decoded together, one for each constraint."""
        return Batch(self, constraints, beam_width, vocab_size, logit_type, normalize, temperature)


class DeviceTrie(_Handle):
    """A static trie on the device."""

    def __init__(self, context: Context, trie: Trie):
        library = context.native
        address = c_void_p()
        library.check(library.functions.esp_cuda_trie_upload(context.address, byref(trie.arrays), byref(address)))
        # Held because the device's trie borrows some of the host's arrays.
        self.context = context
        self.trie = trie
        super().__init__(library, address.value, "esp_cuda_trie_release")

    @property
    def byte_count(self) -> int:
        return self.native.functions.esp_cuda_trie_bytes(self.address)

    def upload_set(self, leaf_bits: Any) -> "DeviceSet":
        """:param leaf_bits: one bit for each leaf in little-endian words of 64, as live_leaves() gives them. Borrowed."""
        return DeviceSet(self, leaf_bits)

    def constraint(self, live: Optional["DeviceSet"] = None, dead_leaves: Sequence[int] = ()) -> "Constraint":
        """What a request may reach.

        :param live: the set's leaves; None for all of the trie's.
        :param dead_leaves: leaves that it must not reach all the same, in the set or not.
        """
        return Constraint(self, live, dead_leaves)


class DeviceSet(_Handle):
    """A constraint set on the device."""

    def __init__(self, on_device: DeviceTrie, leaf_bits: Any):
        library = on_device.native
        arrays = on_device.trie.arrays
        bits = _host_array(leaf_bits, "leaf_bits") if not isinstance(leaf_bits, ctypes.Array) else None
        found = ctypes.sizeof(leaf_bits) if bits is None else bits.length * bits.item_size
        expected = (arrays.leaf_count + 63) // 64 * 8
        if found < expected:
            raise ValueError(f"leaf_bits must have {expected} bytes, found {found}")
        start = ctypes.addressof(leaf_bits) if bits is None else bits.address
        root_mask = _words(arrays.codebook_sizes[0])
        node_bits = _words(arrays.top_levels[1].node_count if arrays.level_count > 1 else 0)
        functions = library.functions
        library.check(functions.esp_set_derive(functions.esp_level_best(), on_device.trie.address, start, root_mask, node_bits))
        address = c_void_p()
        library.check(functions.esp_cuda_set_upload(on_device.address, start, root_mask, node_bits, byref(address)))
        self.on_device = on_device
        self._borrowed = (leaf_bits, bits, root_mask, node_bits)
        self._words = (c_uint64 * (expected // 8)).from_address(start)
        super().__init__(library, address.value, "esp_cuda_set_release")

    @property
    def byte_count(self) -> int:
        return self.native.functions.esp_cuda_set_bytes(self.address)

    def has(self, leaf: int) -> bool:
        return bool(self._words[leaf // 64] >> (leaf % 64) & 1)


class Constraint(_Handle):
    """What one request may reach: a trie, a set or all of it, and leaves that are dead to the request."""

    def __init__(self, on_device: DeviceTrie, live: Optional[DeviceSet], dead_leaves: Sequence[int]):
        library = on_device.native
        dead = sorted(set(dead_leaves))
        if live is not None and live.on_device is not on_device:
            raise ValueError("the set must be of the same trie")
        if dead and (dead[0] < 0 or dead[-1] >= on_device.trie.leaf_count):
            raise ValueError(f"dead leaves must be below {on_device.trie.leaf_count}")
        # The library takes leaves of the set only.
        dead = [leaf for leaf in dead if live is None or live.has(leaf)]
        address = c_void_p()
        library.check(
            library.functions.esp_cuda_constraint_create(
                on_device.address, live.address if live is not None else None, (c_uint32 * max(1, len(dead)))(*dead), len(dead), byref(address)
            )
        )
        self.on_device = on_device
        self.live = live
        super().__init__(library, address.value, "esp_cuda_constraint_release")


@dataclass
class Beams:
    """The beams of a batch: arrays on the device, [requests] or [requests, beam_width], of 32-bit entries.

    A node is a range of leaves [node_lo, node_hi); after the last level that is one leaf, whose rows
    Trie.rows_of_leaf() names. Entries beyond a request's count mean nothing. bad_beams has the first beam with a logit
    that is NaN or +infinity, -2 where the beams that were read are no nodes of the trie, else -1.
    """

    counts: Any
    scores: Any
    parent_beams: Any
    codes: Any
    node_lo: Any
    node_hi: Any
    bad_beams: Any

    @staticmethod
    def in_torch(request_count: int, beam_width: int, device: Any = "cuda") -> "Beams":
        """New tensors. Numbers of leaves are uint32 in int32 tensors, which have no others: read them with & 0xffffffff."""
        import torch

        def entries(*shape: int, dtype: Any = torch.int32) -> Any:
            return torch.zeros(shape, dtype=dtype, device=device)

        wide = (request_count, beam_width)
        scores = entries(*wide, dtype=torch.float32)
        return Beams(entries(request_count), scores, entries(*wide), entries(*wide), entries(*wide), entries(*wide), entries(request_count))


class Batch(_Handle):
    """Requests whose beams stay on the device from step to step. A step is one launch, and may be captured."""

    def __init__(
        self,
        context: Context,
        constraints: Sequence[Constraint],
        beam_width: int,
        vocab_size: int,
        logit_type: str,
        normalize: str,
        temperature: float,
    ):
        if logit_type not in LOGIT_TYPES:
            raise ValueError(f"logit_type must be one of {', '.join(LOGIT_TYPES)}, found {logit_type}")
        if normalize not in NORMALIZE:
            raise ValueError(f"normalize must be one of {', '.join(NORMALIZE)}, found {normalize}")
        library = context.native
        options = BatchOptions(len(constraints), beam_width, LOGIT_TYPES[logit_type], vocab_size, NORMALIZE[normalize], temperature)
        handles = (c_void_p * max(1, len(constraints)))(*[one.address for one in constraints])
        address = c_void_p()
        library.check(library.functions.esp_cuda_batch_create(context.address, byref(options), handles, byref(address)))
        self.context = context
        self.constraints = list(constraints)
        self.beam_width = beam_width
        self.vocab_size = vocab_size
        self.logit_type = logit_type
        super().__init__(library, address.value, "esp_cuda_batch_release")

    def set_constraint(self, request: int, constraint: Constraint, stream: Any = None) -> None:
        """From the next step on the stream on, which may be the replay of a captured one."""
        if not 0 <= request < len(self.constraints):
            raise IndexError(f"request must be below {len(self.constraints)}, found {request}")
        functions = self.native.functions
        self.native.check(functions.esp_cuda_batch_set_constraint(self.address, request, constraint.address, _stream_address(stream)))
        self.constraints[request] = constraint

    def step(
        self,
        depth: int,
        logits: Any,
        into: Beams,
        beams: Optional[Beams] = None,
        token_offset: int = 0,
        token_table: Any = None,
        stream: Any = None,
    ) -> None:
        """Launches one step and returns.

        :param logits: [requests, vocab_size] at depth 0, else [requests, beam_width, vocab_size], aligned to 16 bytes.
        :param into: where the children go; not the arrays that are read.
        :param beams: what the step before has written; None at depth 0.
        :param token_table: [codebook size] int32 on the device, the token of each code; else token = token_offset + code.
        :param stream: a torch.cuda.Stream or an address; None for the default stream.
        """
        requests = len(self.constraints)
        wide = requests * self.beam_width
        if (beams is None) != (depth == 0):
            raise ValueError("beams must be given at every depth but 0")
        if hasattr(logits, "dtype") and str(logits.dtype).rpartition(".")[2] != self.logit_type:
            raise ValueError(f"logits must be {self.logit_type}, found {logits.dtype}")
        least = (requests if depth == 0 else wide) * self.vocab_size
        codebook_sizes = self.constraints[0].on_device.trie.codebook_sizes
        codes = codebook_sizes[depth] if 0 <= depth < len(codebook_sizes) else 0
        asked = BatchStep()
        asked.depth = depth
        asked.logits = _device_address(logits, "logits", 4 if self.logit_type == "float32" else 2, least)
        asked.token_offset = token_offset
        asked.token_table = _device_address(token_table, "token_table", 4, codes)
        if beams is not None:
            asked.counts = _device_address(beams.counts, "beams.counts", 4, requests)
            for name in ("scores", "node_lo", "node_hi"):
                setattr(asked, name, _device_address(getattr(beams, name), f"beams.{name}", 4, wide))
        asked.out_counts = _device_address(into.counts, "into.counts", 4, requests)
        asked.out_bad_beams = _device_address(into.bad_beams, "into.bad_beams", 4, requests)
        for name in ("scores", "parent_beams", "codes", "node_lo", "node_hi"):
            setattr(asked, f"out_{name}", _device_address(getattr(into, name), f"into.{name}", 4, wide))
        self.native.check(self.native.functions.esp_cuda_batch_run(self.address, byref(asked), _stream_address(stream)))
