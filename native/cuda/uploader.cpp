#include "uploader.h"

#include <algorithm>
#include <cstring>

#include "memory.h"

namespace espalier::cuda {

Uploader::Uploader(Context &context, size_t chunk_bytes) : context_(context), chunk_bytes_(chunk_bytes) {}
Uploader::~Uploader() { close(); }

void Uploader::open() {
  // Non-blocking: the default stream, which others use, and this one don't wait for each other.
  context_.check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream for uploads");
  for (cudaEvent_t &event : copied_) {
    context_.check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event for uploads");
  }
}

void Uploader::keep_staging() {
  make_staging();
  keeps_staging_ = true;
}

void Uploader::close() {
  drop_staging();
  for (cudaEvent_t &event : copied_) {
    if (event != nullptr) cudaEventDestroy(event);
    event = nullptr;
  }
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  stream_ = nullptr;
}

void Uploader::make_staging() {
  if (staging_ == nullptr) staging_ = std::make_unique<Piece>(Piece::pinned(context_, chunk_bytes_ * kChunks));
}

void Uploader::drop_staging() { staging_.reset(); }

void Uploader::copy(char *to, const UploadPart &part) {
  for (uint64_t done = 0; done < part.bytes; done += chunk_bytes_) {
    const size_t bytes = std::min<uint64_t>(chunk_bytes_, part.bytes - done);
    const cudaEvent_t copied = copied_[next_];
    char *chunk = staging_->at(next_ * chunk_bytes_);
    next_ = (next_ + 1) % kChunks;
    context_.check(cudaEventSynchronize(copied), "uploading");
    memcpy(chunk, static_cast<const char *>(part.from) + done, bytes);
    context_.check(cudaMemcpyAsync(to + part.offset + done, chunk, bytes, cudaMemcpyHostToDevice, stream_), "uploading");
    context_.check(cudaEventRecord(copied, stream_), "uploading");
  }
}

void Uploader::upload(char *to, const std::vector<UploadPart> &parts) {
  std::lock_guard<std::mutex> lock(mutex_);
  make_staging();
  try {
    for (const UploadPart &part : parts) copy(to, part);
    context_.check(cudaStreamSynchronize(stream_), "uploading");
  } catch (const Failure &) {
    // Nothing may be copied from or to memory that is about to go.
    cudaStreamSynchronize(stream_);
    if (!keeps_staging_) drop_staging();
    throw;
  }
  if (!keeps_staging_) drop_staging();
}

void Uploader::clear(char *to, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  context_.check(cudaMemsetAsync(to, 0, bytes, stream_), "clearing memory");
  context_.check(cudaStreamSynchronize(stream_), "clearing memory");
}

}  // namespace espalier::cuda
