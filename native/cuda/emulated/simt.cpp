#include "simt.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "fiber.h"

namespace espalier::cuda::simt {

thread_local const Self *self = nullptr;

namespace {

// Blocks that take turns where their order is mixed.
constexpr uint32_t kResidentBlocks = 3;

enum class State : uint8_t { kReady, kAtBarrier, kInExchange, kDone };

// splitmix64
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15ull);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
  }
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(next() % bound); }

 private:
  uint64_t state_;
};

struct Block;

struct Thread {
  Self self;
  Fiber fiber;
  Block *block = nullptr;
  State state = State::kDone;
};

struct Warp {
  Exchange kind;
  uint32_t arrived;
  // Of this exchange and the one before, which some lanes may still read.
  uint64_t values[2][kWarpLanes];
  uint32_t turn;
};

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
  uint32_t waiting = 0;
  uint32_t done = 0;
  uint32_t votes = 0;
  Tally tally = {};
};

[[noreturn]] void stop(const char *what, const Thread &thread) {
  fprintf(stderr, "simt: block %u, thread %u: %s\n", thread.self.block.x, thread.self.thread.x, what);
  abort();
}

[[noreturn]] void report_deadlock(const Block &block) {
  uint32_t counts[4] = {};
  for (const auto &thread : block.threads) counts[static_cast<int>(thread->state)]++;
  fprintf(stderr, "simt: block %u is stuck: %u of its %zu threads wait at a barrier, %u in an exchange of their warp, %u have ended\n",
          block.threads[0]->self.block.x, counts[1], block.threads.size(), counts[2], counts[3]);
  abort();
}

class Engine {
 public:
  void set_order(uint64_t seed) {
    is_mixed_ = seed != 0;
    random_ = Random(seed);
  }

  void run(uint32_t blocks, uint32_t threads, size_t shared_bytes, const std::function<void()> &kernel) {
    if (threads == 0 || threads % kWarpLanes != 0 || threads > 1024 || running_ != nullptr) {
      fprintf(stderr, "simt: a block must have 32, 64, ... 1024 threads, found %u\n", threads);
      abort();
    }
    kernel_ = &kernel;
    std::vector<uint32_t> order(blocks);
    for (uint32_t block = 0; block < blocks; block++) order[block] = block;
    for (uint32_t left = blocks; is_mixed_ && left > 1; left--) std::swap(order[left - 1], order[random_.below(left)]);
    const uint32_t most = is_mixed_ ? 1 + random_.below(kResidentBlocks) : 1;
    if (resident_.size() < most) resident_.resize(most);
    std::vector<Block *> active;
    for (uint32_t next = 0; next < blocks || !active.empty();) {
      while (next < blocks && active.size() < most) {
        Block *free = nullptr;
        for (Block &block : resident_) free = block.done == block.threads.size() && !contains(active, &block) ? &block : free;
        begin(*free, order[next++], blocks, threads, shared_bytes);
        active.push_back(free);
      }
      const size_t which = is_mixed_ ? random_.below(static_cast<uint32_t>(active.size())) : 0;
      advance(*active[which]);
      if (active[which]->done == active[which]->threads.size()) active.erase(active.begin() + static_cast<ptrdiff_t>(which));
    }
    self = nullptr;
  }

  Thread &running() { return *running_; }

  // The thread that runs gives way, in a state that somebody else ends.
  void wait(State state) {
    Thread &thread = *running_;
    thread.state = state;
    back_.resume(thread.fiber, state == State::kDone);
  }

  bool pauses() { return is_mixed_ && running_ != nullptr && random_.below(8) == 0; }

  static void entry();

 private:
  static bool contains(const std::vector<Block *> &active, const Block *block) {
    for (const Block *one : active) {
      if (one == block) return true;
    }
    return false;
  }

  void begin(Block &block, uint32_t index, uint32_t blocks, uint32_t threads, size_t shared_bytes) {
    block.threads.resize(threads);
    block.warps.assign(threads / kWarpLanes, Warp());
    block.waiting = block.done = block.votes = 0;
    // Exactly as long as it is, so that a sanitizer sees a byte too far.
    block.shared = std::vector<unsigned char>();
    block.shared.resize(shared_bytes);
    for (size_t at = 0; at < shared_bytes; at += sizeof(uint64_t)) {
      const uint64_t some = garbage_.next();
      memcpy(&block.shared[at], &some, shared_bytes - at < sizeof some ? shared_bytes - at : sizeof some);
    }
    for (uint32_t at = 0; at < threads; at++) {
      if (block.threads[at] == nullptr) block.threads[at].reset(new Thread());
      Thread &thread = *block.threads[at];
      thread.self = {{at}, {index}, {threads}, {blocks}, block.shared.data()};
      thread.block = &block;
      thread.state = State::kReady;
      thread.fiber.start(&Engine::entry);
    }
  }

  // Lets each thread of a block run until it waits.
  void advance(Block &block) {
    bool has_run = false;
    const uint32_t warps = static_cast<uint32_t>(block.warps.size());
    const uint32_t first = is_mixed_ ? random_.below(warps) : 0;
    for (uint32_t at = 0; at < warps; at++) {
      const uint32_t warp = (first + at) % warps;
      const uint32_t start = is_mixed_ ? random_.below(kWarpLanes) : 0;
      const uint32_t stride = is_mixed_ ? random_.below(kWarpLanes) | 1 : 1;
      for (uint32_t turn = 0; turn < kWarpLanes; turn++) {
        Thread &thread = *block.threads[warp * kWarpLanes + (start + turn * stride) % kWarpLanes];
        if (thread.state != State::kReady) continue;
        has_run = true;
        running_ = &thread;
        self = &thread.self;
        thread.fiber.resume(back_);
        running_ = nullptr;
        if (thread.state == State::kDone) block.done++;
      }
    }
    if (block.waiting == block.threads.size()) {
      block.tally = {block.votes};
      block.waiting = block.votes = 0;
      for (const auto &thread : block.threads) thread->state = State::kReady;
    } else if (!has_run && block.done < block.threads.size()) {
      report_deadlock(block);
    }
  }

  bool is_mixed_ = false;
  Random random_{0};
  Random garbage_{0xbad};
  const std::function<void()> *kernel_ = nullptr;
  std::vector<Block> resident_;
  Thread *running_ = nullptr;
  Fiber back_;
};

thread_local Engine engine;

void Engine::entry() {
  Fiber::began();
  (*engine.kernel_)();
  engine.wait(State::kDone);
}

}  // namespace

void set_order(uint64_t seed) { engine.set_order(seed); }

void run(uint32_t blocks, uint32_t threads, size_t shared_bytes, const std::function<void()> &kernel) {
  engine.run(blocks, threads, shared_bytes, kernel);
}

int (*enqueue)(void *stream, std::function<void()> work) = nullptr;

int launch(void *stream, uint32_t blocks, uint32_t threads, size_t shared_bytes, std::function<void()> kernel) {
  auto work = [=] { run(blocks, threads, shared_bytes, kernel); };
  if (enqueue != nullptr) return enqueue(stream, work);
  work();
  return 0;
}

Tally sync_threads(bool vote) {
  Block &block = *engine.running().block;
  block.waiting++;
  block.votes += vote;
  engine.wait(State::kAtBarrier);
  return block.tally;
}

const uint64_t *exchange(Exchange kind, uint32_t mask, uint64_t value) {
  Thread &thread = engine.running();
  Block &block = *thread.block;
  const uint32_t number = thread.self.thread.x / kWarpLanes;
  Warp &warp = block.warps[number];
  if (mask != UINT32_MAX) stop("exchanges are for whole warps", thread);
  if (warp.arrived == 0) warp.kind = kind;
  if (warp.kind != kind) stop("its warp is in an exchange of another kind", thread);
  const uint32_t turn = warp.turn;
  warp.values[turn][thread.self.thread.x % kWarpLanes] = value;
  if (++warp.arrived < kWarpLanes) {
    engine.wait(State::kInExchange);
  } else {
    warp.arrived = 0;
    warp.turn = 1 - turn;
    for (uint32_t lane = 0; lane < kWarpLanes; lane++) {
      Thread &other = *block.threads[number * kWarpLanes + lane];
      if (other.state == State::kInExchange) other.state = State::kReady;
    }
  }
  return warp.values[turn];
}

void pause() {
  if (engine.pauses()) engine.wait(State::kReady);
}

}  // namespace espalier::cuda::simt
