// One batch of the timing table: compared, then timed, level by level.
#pragma once

#include <functional>

#include "catalog.h"
#include "logits.h"
#include "timing.h"

namespace checking {

// Steps in one captured graph.
constexpr uint32_t kGraphSteps = kIsEmulated ? 2 : 16;

struct Axes {
  uint32_t batch;
  uint32_t beams;
  // 0: one constraint of all leaves; else so many sets, mixed within the batch.
  uint32_t sets;
};

struct Row {
  Axes axes;
  uint64_t leaves;
  uint32_t vocab_size;
  uint32_t depth;
  esp_logit_type type;
  uint64_t logit_bytes;
  uint64_t winners;
  bool is_equal_to_cpu;
  bool is_equal_to_baseline;
  // One step in a graph of many, launched one by one, in a graph with a cold L2, and in a graph of steps with logits of
  // their own that don't fit the L2 together.
  Microseconds graph, launched, cold, streamed;
  Microseconds baseline, baseline_launched, baseline_cold;
};

// Logits of either type that all rows of the table read from, each level from a place of its own.
class LogitPool {
 public:
  LogitPool(size_t bytes) : bytes_(bytes) {
    constexpr size_t kBlock = 1u << 20;
    testing::Random random(7);
    for (const esp_logit_type type : {ESP_LOGITS_F32, ESP_LOGITS_BF16}) {
      const size_t block = std::min<size_t>(kBlock, bytes / bytes_of(type));
      Logits logits(type, 1, static_cast<uint32_t>(block));
      for (size_t at = 0; at < block; at++) logits.set(at, (static_cast<float>(random.below(1u << 24)) * 0x1p-24f - 0.5f) * 20);
      DeviceArray<uint8_t> &pool = type == ESP_LOGITS_F32 ? floats_ : halves_;
      pool = DeviceArray<uint8_t>(bytes);
      for (size_t at = 0; at < bytes; at += logits.bytes.size()) {
        CUDA_MUST(cudaMemcpy(pool.data() + at, logits.bytes.data(), std::min(logits.bytes.size(), bytes - at), cudaMemcpyHostToDevice));
      }
    }
  }

  // @param place any number; the same gives the same logits
  const uint8_t *at(esp_logit_type type, uint64_t place, size_t bytes) const {
    const size_t places = (bytes_ - bytes) / 4096 + 1;
    return (type == ESP_LOGITS_F32 ? floats_ : halves_).data() + place % places * 4096;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  DeviceArray<uint8_t> floats_;
  DeviceArray<uint8_t> halves_;
};

// All that is timed shares these.
struct Tools {
  esp_cuda_context *context;
  esp_stepper *cpu;
  Stream stream;
  Flush flush;
  LogitPool logits;
  Samples samples;
  size_t l2;
};

// Decodes down to the last of `depths` (ascending), and times those. Rows that differ from esp_step or the baseline are not timed.
void measure(Tools &tools, const Catalog &catalog, const Axes &axes, esp_logit_type type, const std::vector<uint32_t> &depths,
             const std::function<void(const Row &)> &on_row);

}  // namespace checking
