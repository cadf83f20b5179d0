// Checks the library on the device that it runs on: random decodes in every way that it offers, against brute force and
// against esp_step, and new sets beside running steps.
//   check [--seed N] [--cases N] [--seconds N] [--uploads N] [--small 1]
// Ends after `cases`, or, with what it has done, after `seconds`; fewer cases than asked for are said and are a failure.
#include <chrono>
#include <thread>

#include "decode_case.h"
#include "uploads.h"

using namespace checking;
using testing::argument;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

unsigned long long number(uint64_t value) { return value; }

// Everything that was uploaded has been released by now.
void check_nothing_left(esp_cuda_context *context) {
  esp_cuda_memory memory = {};
  CHECK(esp_cuda_memory_of(context, &memory) == ESP_OK, "%s", esp_last_error());
  CHECK(memory.trie_bytes == 0 && memory.set_bytes == 0 && memory.exclusion_bytes == 0, "left on the device: tries %llu, sets %llu, exclusions %llu bytes",
        number(memory.trie_bytes), number(memory.set_bytes), number(memory.exclusion_bytes));
}

}  // namespace

int main(int argument_count, char **values) {
  const uint64_t seed = argument(argument_count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t cases = argument(argument_count, values, "--cases", 2000);
  const double seconds = static_cast<double>(argument(argument_count, values, "--seconds", 120));
  const uint64_t rounds = argument(argument_count, values, "--uploads", 100);
  const bool is_small = argument(argument_count, values, "--small", 0) != 0;
  const CaseLimits limits = is_small ? CaseLimits{400, 1u << 15, 8} : CaseLimits{20000, 1u << 20, 32};
  printf("check: seed %llu (--seed repeats it), %llu cases%s\n", number(seed), number(cases), kIsEmulated ? ", emulated on the CPU" : "");
  fflush(stdout);

  if (esp_cuda_abi() != ESP_CUDA_ABI) {
    fprintf(stderr, "check: the library has ABI %u, this program %u\n", esp_cuda_abi(), ESP_CUDA_ABI);
    return 1;
  }
  esp_cuda_device device = {};
  esp_cuda_context *context = nullptr;
  esp_cuda_stepper *stepper = nullptr;
  esp_stepper *cpu = nullptr;
  const uint32_t threads = kIsEmulated ? 1 : std::max(1u, std::thread::hardware_concurrency() / 2);
  if (esp_cuda_probe(0, &device) != ESP_OK || esp_cuda_open(0, &context) != ESP_OK || esp_cuda_stepper_create(context, &stepper) != ESP_OK ||
      esp_stepper_create(esp_level_best(), threads, &cpu) != ESP_OK) {
    fprintf(stderr, "check: %s\n", esp_last_error());
    return 1;
  }
  Bench bench = {context, stepper, cpu, {}};
  printf("check: %s, compute capability %u.%u\n", device.name, device.compute_major, device.compute_minor);
  fflush(stdout);

  testing::Random random(seed);
  Counts counts = {};
  const auto start = std::chrono::steady_clock::now();
  double said = 0;
  for (uint64_t index = 0; index < cases && seconds_since(start) < seconds; index++) {
    run_case(random, limits, bench, counts);
    if (seconds_since(start) - said >= 10) {
      said = seconds_since(start);
      printf("check: %llu cases, %d failed, %.0f s\n", number(counts.cases), testing::failures, said);
      fflush(stdout);
    }
  }
  CHECK(counts.cases >= cases, "%llu cases in %.0f seconds, %llu were asked for", number(counts.cases), seconds, number(cases));
  UploadCounts uploads = {};
  if (rounds > 0) check_uploads(random, rounds, bench, uploads);
  check_nothing_left(bench.context);
  esp_stepper_release(bench.cpu);
  esp_cuda_stepper_release(bench.stepper);
  esp_cuda_close(bench.context);

  printf("check: %llu cases, %llu steps, %llu children; esp_step agrees bit by bit on %llu requests and within the bound of the log-sum-exp on %llu\n",
         number(counts.cases), number(counts.steps), number(counts.children), number(counts.equal_to_cpu), number(counts.near_to_cpu));
  printf("check: %llu steps with beams on the device, %llu replays of captured ones, %llu requests with a bad logit\n", number(counts.resident_steps),
         number(counts.replays), number(counts.bad_logits));
  printf("check: %llu sets uploaded beside %llu steps\n", number(uploads.uploads), number(uploads.steps));
  printf("check: %llu checks, %d failed, %.1f s\n", number(testing::checks), testing::failures, seconds_since(start));
  return testing::failures == 0 ? 0 : 1;
}
