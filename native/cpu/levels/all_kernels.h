// Included by each levels/<name>.cpp, with its flags and ESPALIER_LEVEL set: the table of one instruction set.
#include "bits.inl.h"
#include "emit.inl.h"
#include "pack.inl.h"
#include "scan.inl.h"
#include "sort.inl.h"
#include "step.inl.h"

#define ESPALIER_JOIN_(a, b) a##b
#define ESPALIER_JOIN(a, b) ESPALIER_JOIN_(a, b)

namespace espalier {

namespace {

template <class Code>
constexpr LevelKernels::Rows rows_kernels() {
  return {count_rows<Code>, scatter_rows<Code>, pack_rows<Code>};
}

constexpr LevelKernels kKernels = {
    {rows_kernels<uint8_t>(), rows_kernels<uint16_t>(), rows_kernels<uint32_t>(), rows_kernels<uint64_t>()},
    sort_keys,
    partition_keys,
    count_emitted,
    {emit<uint16_t>, emit<uint32_t>},
    combine,
    count_bits,
    live_nodes,
    count_items,
    shared_items,
    {{range<uint8_t>, range<uint16_t>, range<uint32_t>, range_doubles},
     {flags<uint8_t>, flags<uint16_t>, flags<uint32_t>}},
    step_request,
    prepare_beams,
    select_children,
    log_sum_exp,
};

}  // namespace

const LevelKernels *ESPALIER_JOIN(ESPALIER_LEVEL, _kernels)() { return &kKernels; }

}  // namespace espalier
