#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <thread>

#include "internal.h"

namespace espalier {

namespace {
thread_local std::string last_error;
}

void remember_error(const std::string &message) { last_error = message; }

void fail(esp_status status, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Failure{status, text};
}

void parallel(uint32_t threads, const std::function<void(uint32_t)> &body) {
  std::mutex mutex;
  std::exception_ptr first;
  auto run = [&](uint32_t thread) {
    try {
      body(thread);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!first) first = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  for (uint32_t thread = 1; thread < threads; thread++) {
    try {
      others.emplace_back(run, thread);
    } catch (const std::system_error &) {
      // No more threads to be had: this one does the work.
      run(thread);
    }
  }
  run(0);
  for (auto &other : others) other.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace espalier

const char *esp_last_error(void) { return espalier::last_error.c_str(); }
