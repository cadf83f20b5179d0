// Medians of what a stream takes, with warm and with cold caches.
#pragma once

#include <algorithm>

#include "device.h"

namespace checking {

// Microseconds for one step.
struct Microseconds {
  double median;
  double p95;
};

inline Microseconds summarize(std::vector<double> samples) {
  if (samples.empty()) return {0, 0};
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples[std::min(samples.size() - 1, samples.size() * 95 / 100)]};
}

// How often something is measured.
struct Samples {
  uint32_t warm_up;
  uint32_t warm;
  uint32_t cold;
};

// A buffer beyond the size of the L2 cache; writing it drives everything else out.
class Flush {
 public:
  explicit Flush(size_t bytes) : buffer_(bytes) {}
  void run(const Stream &stream) const { CUDA_MUST(cudaMemsetAsync(buffer_.data(), 1, buffer_.size(), stream.get())); }

 private:
  DeviceArray<uint8_t> buffer_;
};

// @param launch puts `steps` steps on the stream
template <class Launch>
Microseconds time_warm(const Stream &stream, const Samples &samples, uint32_t steps, const Launch &launch) {
  Stopwatch watch;
  std::vector<double> found;
  for (uint32_t sample = 0; sample < samples.warm_up + samples.warm; sample++) {
    watch.start(stream);
    launch();
    watch.stop(stream);
    const double taken = watch.wait();
    if (sample >= samples.warm_up) found.push_back(taken / steps);
  }
  return summarize(std::move(found));
}

// The same with nothing of it in the L2 cache; `launch` puts one step on the stream.
template <class Launch>
Microseconds time_cold(const Stream &stream, const Samples &samples, const Flush &flush, const Launch &launch) {
  Stopwatch watch;
  std::vector<double> found;
  for (uint32_t sample = 0; sample < samples.cold; sample++) {
    flush.run(stream);
    watch.start(stream);
    launch();
    watch.stop(stream);
    found.push_back(watch.wait());
  }
  return summarize(std::move(found));
}

}  // namespace checking
