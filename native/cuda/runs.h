// What a batch has put on streams outside of captures: its memory stays until that has ended. There is one event a stream,
// because waiting for the whole device would spoil every capture on it, whoever captures.
#pragma once

#include <utility>
#include <vector>

#include "context.h"

namespace espalier::cuda {

class Event {
 public:
  Event() = default;
  // @throws Failure
  explicit Event(Context &context);
  Event(Event &&other) noexcept { *this = std::move(other); }
  Event &operator=(Event &&other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~Event();
  cudaEvent_t get() const { return event_; }
  bool has_passed() const { return cudaEventQuery(event_) != cudaErrorNotReady; }

 private:
  cudaEvent_t event_ = nullptr;
};

class Runs {
 public:
  // As long as it lives, work is put on its stream, which is not captured; its end marks the end of that work.
  class Run {
   public:
    // @throws Failure
    Run(Context &context, Runs &runs, cudaStream_t stream);
    Run(const Run &) = delete;
    ~Run();

   private:
    Runs &runs_;
    cudaStream_t stream_;
    size_t index_ = 0;
  };

  // Returns when all of it has ended, and forgets it. Captures go on meanwhile.
  void finish();

 private:
  struct Marked {
    // Unlike a handle, never another stream's.
    unsigned long long stream_id;
    Event ended;
  };
  std::vector<Marked> marked_;
};

}  // namespace espalier::cuda
