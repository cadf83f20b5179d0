// Copies host memory to the device in chunks through pinned memory, on a stream of its own: steps go on meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime.h"

namespace espalier::cuda {

class Context;
class Piece;

struct UploadPart {
  // From the target's begin.
  uint64_t offset;
  const void *from;
  uint64_t bytes;
};

class Uploader {
 public:
  Uploader(Context &context, size_t chunk_bytes);
  ~Uploader();
  // @throws Failure
  void open();
  // Keeps pinned memory from one upload to the next.
  void keep_staging();
  void close();

  // Returns when all parts are on the device. For any thread. @throws Failure
  void upload(char *to, const std::vector<UploadPart> &parts);
  // Returns when all of it is zero.
  void clear(char *to, uint64_t bytes);

 private:
  void make_staging();
  void drop_staging();
  void copy(char *to, const UploadPart &part);

  Context &context_;
  size_t chunk_bytes_;
  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;
  // Two chunks take turns: one is filled while the other is copied from.
  static constexpr uint32_t kChunks = 2;
  cudaEvent_t copied_[kChunks] = {};
  std::unique_ptr<Piece> staging_;
  uint32_t next_ = 0;
  bool keeps_staging_ = false;
};

}  // namespace espalier::cuda
