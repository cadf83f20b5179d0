#include "runs.h"

#include <algorithm>

namespace espalier::cuda {

Event::Event(Context &context) {
  context.check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

Runs::Run::Run(Context &context, Runs &runs, cudaStream_t stream) : runs_(runs), stream_(stream) {
  unsigned long long id = 0;
  context.check(cudaStreamGetId(stream, &id), "looking at a stream");
  std::vector<Marked> &marked = runs.marked_;
  const auto is_it = [id](const Marked &one) { return one.stream_id == id; };
  auto found = std::find_if(marked.begin(), marked.end(), is_it);
  if (found == marked.end()) {
    Event ended(context);
    // Streams come and go.
    const auto has_ended = [](const Marked &one) { return one.ended.has_passed(); };
    marked.erase(std::remove_if(marked.begin(), marked.end(), has_ended), marked.end());
    marked.push_back({id, std::move(ended)});
    found = marked.end() - 1;
  }
  index_ = static_cast<size_t>(found - marked.begin());
}

Runs::Run::~Run() {
  if (cudaEventRecord(runs_.marked_[index_].ended.get(), stream_) == cudaSuccess) return;
  // Then wait now.
  cudaStreamSynchronize(stream_);
  cudaGetLastError();
}

void Runs::finish() {
  for (const Marked &one : marked_) {
    // A device that failed runs nothing.
    if (cudaEventSynchronize(one.ended.get()) != cudaSuccess) cudaGetLastError();
  }
  marked_.clear();
}

}  // namespace espalier::cuda
