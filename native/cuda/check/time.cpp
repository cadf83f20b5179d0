// The timing table: one decode step, ours beside STATIC's, over batch, beams, vocabulary, level and logit type.
//   time --out FILE [--seconds N] [--quick 1] [--tiny 1]
// Winners are compared with esp_step's and with the baseline's before anything is timed. Rows that the seconds don't
// suffice for are left out and counted. The JSON is whole after each row, so that whoever stops this program keeps what
// was measured. It has no judgement: summary.py adds the marks.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstring>
#include <string>

#include "../../tests/testing.h"
#include "measurement.h"

using namespace checking;
using testing::argument;

namespace {

const char *level_name(uint32_t depth) { return depth == 0 ? "root" : depth == 1 ? "dense" : depth == 2 ? "middle" : "tail"; }
const char *type_name(esp_logit_type type) { return type == ESP_LOGITS_F32 ? "float32" : type == ESP_LOGITS_F16 ? "float16" : "bfloat16"; }

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

size_t l2_bytes() {
#ifdef ESPALIER_CUDA_EMULATED
  // So small that the tiny table streams, too.
  return 1u << 12;
#else
  cudaDeviceProp properties;
  CUDA_MUST(cudaGetDeviceProperties(&properties, 0));
  return static_cast<size_t>(properties.l2CacheSize);
#endif
}

// Bytes read and written each second by copies within the device's memory.
double copy_bytes_per_second(const Stream &stream, size_t bytes) {
  const DeviceArray<uint8_t> from(bytes), to(bytes);
  const Samples samples = {2, 15, 0};
  const Microseconds taken = time_warm(stream, samples, 1, [&] {
    CUDA_MUST(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream.get()));
  });
  return taken.median > 0 ? 2 * static_cast<double>(bytes) / (taken.median * 1e-6) : 0;
}

void print_row(const Row &row) {
  printf("%5u %5u %7u %10" PRIu64 " %5u %-6s %-8s %9.2f %9.2f %9.2f %9.2f %9.2f %10.2f %7.1fx %s\n", row.axes.batch, row.axes.beams, row.vocab_size,
         row.leaves, row.axes.sets, level_name(row.depth), type_name(row.type), row.graph.median, row.graph.p95, row.launched.median, row.cold.median,
         row.streamed.median, row.baseline.median, row.graph.median > 0 ? row.baseline.median / row.graph.median : 0,
         row.is_equal_to_cpu && row.is_equal_to_baseline ? "equal" : "DIFFERS");
  fflush(stdout);
}

void write_times(FILE *file, const char *name, const Microseconds &times) {
  if (times.median > 0) fprintf(file, ", \"%s\": {\"median\": %.3f, \"p95\": %.3f}", name, times.median, times.p95);
}

void write_row(FILE *file, const Row &row, bool is_last) {
  fprintf(file,
          "    {\"batch\": %u, \"beams\": %u, \"vocabSize\": %u, \"leaves\": %" PRIu64 ", \"sets\": %u, \"depth\": %u, \"level\": \"%s\", \"logits\": \"%s\", "
          "\"logitBytes\": %" PRIu64 ", \"winners\": \"%016" PRIx64 "\", \"equalToCpu\": %s, \"equalToBaseline\": %s",
          row.axes.batch, row.axes.beams, row.vocab_size, row.leaves, row.axes.sets, row.depth, level_name(row.depth), type_name(row.type), row.logit_bytes,
          row.winners, row.is_equal_to_cpu ? "true" : "false", row.is_equal_to_baseline ? "true" : "false");
  write_times(file, "graphUs", row.graph);
  write_times(file, "launchedUs", row.launched);
  write_times(file, "coldUs", row.cold);
  write_times(file, "streamedUs", row.streamed);
  write_times(file, "baselineUs", row.baseline);
  write_times(file, "baselineLaunchedUs", row.baseline_launched);
  write_times(file, "baselineColdUs", row.baseline_cold);
  fprintf(file, "}%s\n", is_last ? "" : ",");
}

// What is measured on one catalog, the most important first.
struct Plan {
  CatalogShape shape;
  uint32_t sets;
  bool has_baseline;
  std::vector<Axes> axes;
};

std::vector<Plan> plans_for(bool is_quick, bool is_tiny) {
  if (is_tiny) return {{{3000, 64}, 2, true, {{2, 6, 0}, {2, 6, 2}}}};
  const std::vector<Axes> few = {{2, 70, 0}, {32, 50, 0}};
  std::vector<Axes> many = {{2, 70, 0}, {32, 50, 0}, {2, 70, 2}, {32, 50, 32}};
  for (const uint32_t batch : {1u, 2u, 8u, 32u}) {
    for (const uint32_t beams : {10u, 50u, 70u, 256u}) {
      if (!(batch == 2 && beams == 70) && !(batch == 32 && beams == 50)) many.push_back({batch, beams, 0});
    }
  }
  const uint64_t most = is_quick ? 1'000'000 : 20'000'000;
  const uint64_t fewer = is_quick ? 500'000 : 10'000'000;
  return {{{most, 2048}, 32, true, many}, {{fewer, 256}, 0, true, few}, {{fewer, 8192}, 0, true, few}, {{fewer, 32768}, 0, false, few}};
}

const char *text_argument(int count, char **values, const char *name) {
  for (int index = 1; index + 1 < count; index++) {
    if (strcmp(values[index], name) == 0) return values[index + 1];
  }
  return nullptr;
}

bool can_write(const std::string &path) {
  FILE *file = fopen((path + ".part").c_str(), "w");
  return file != nullptr && fclose(file) == 0;
}

// The tiny table has one type of logits for sets.
bool is_planned(bool is_tiny, const Axes &axes, esp_logit_type type) { return !is_tiny || axes.sets == 0 || type == ESP_LOGITS_F32; }
constexpr esp_logit_type kTypes[] = {ESP_LOGITS_F32, ESP_LOGITS_BF16};
const std::vector<uint32_t> kDepths = {0, 1, 2, 4};

size_t planned_rows(const std::vector<Plan> &plans, bool is_tiny) {
  size_t count = 0;
  for (const Plan &plan : plans) {
    for (const Axes &axes : plan.axes) {
      for (const esp_logit_type type : kTypes) count += is_planned(is_tiny, axes, type) ? kDepths.size() : 0;
    }
  }
  return count;
}

struct Results {
  esp_cuda_device device = {};
  double copied = 0;
  double empty = 0;
  size_t planned = 0;
  std::string catalogs;
  std::vector<Row> rows;

  size_t left_out() const { return planned - std::min(planned, rows.size()); }

  void add_catalog(const Catalog &catalog, uint32_t vocab_size) {
    char text[512];
    snprintf(text, sizeof text,
             "%s    {\"leaves\": %u, \"levels\": %u, \"vocabSize\": %u, \"buildSeconds\": %.3f, \"uploadSeconds\": %.3f, \"deviceBytes\": %" PRIu64
             ", \"baselineBytes\": %" PRIu64 "}",
             catalogs.empty() ? "" : ",\n", catalog.arrays().leaf_count, kTimedLevels, vocab_size, catalog.build_seconds(), catalog.upload_seconds(),
             catalog.device_bytes(), catalog.baseline_bytes());
    catalogs += text;
    printf("time: %u leaves, V=%u: built in %.2f s, uploaded in %.2f s, %.0f MB on the device; STATIC's tables %.0f MB\n", catalog.arrays().leaf_count,
           vocab_size, catalog.build_seconds(), catalog.upload_seconds(), static_cast<double>(catalog.device_bytes()) / 1e6,
           static_cast<double>(catalog.baseline_bytes()) / 1e6);
  }

  // Into a file beside it first. @return false where that fails
  bool write(const std::string &path) const {
    const std::string part = path + ".part";
    FILE *file = fopen(part.c_str(), "w");
    if (file == nullptr) return false;
    fprintf(file, "{\n  \"device\": {\"name\": \"%s\", \"computeCapability\": \"%u.%u\", \"multiprocessors\": %u, \"memoryBytes\": %" PRIu64 ", \"driver\": %u, \"runtime\": %u},\n",
            device.name, device.compute_major, device.compute_minor, device.multiprocessor_count, device.total_bytes, device.driver_version, device.runtime_version);
    fprintf(file, "  \"isEmulated\": %s,\n  \"copyBytesPerSecond\": %.0f,\n  \"emptyUs\": %.3f,\n  \"graphSteps\": %u,\n  \"samples\": %u,\n  \"rowsLeftOut\": %zu,\n",
            kIsEmulated ? "true" : "false", copied, empty, kGraphSteps, kIsEmulated ? 1 : 100, left_out());
    fprintf(file, "  \"catalogs\": [\n%s\n  ],\n  \"rows\": [\n", catalogs.c_str());
    for (size_t index = 0; index < rows.size(); index++) write_row(file, rows[index], index + 1 == rows.size());
    fprintf(file, "  ]\n}\n");
    const bool is_whole = ferror(file) == 0;
    return fclose(file) == 0 && is_whole && rename(part.c_str(), path.c_str()) == 0;
  }
};

}  // namespace

int main(int argument_count, char **values) {
  const char *out = text_argument(argument_count, values, "--out");
  const double seconds = static_cast<double>(argument(argument_count, values, "--seconds", 180));
  const bool is_tiny = argument(argument_count, values, "--tiny", kIsEmulated ? 1 : 0) != 0;
  const bool is_quick = argument(argument_count, values, "--quick", 0) != 0;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Plan> plans = plans_for(is_quick, is_tiny);
  Results results;
  results.planned = planned_rows(plans, is_tiny);
  if (out == nullptr || !can_write(out)) {
    fprintf(stderr, "time: --out FILE must name a file that can be written\n");
    return 2;
  }
  esp_cuda_device &device = results.device;
  esp_cuda_context *context = nullptr;
  esp_stepper *cpu = nullptr;
  if (esp_cuda_probe(0, &device) != ESP_OK || esp_cuda_open(0, &context) != ESP_OK || esp_stepper_create(esp_level_best(), 1, &cpu) != ESP_OK) {
    fprintf(stderr, "time: %s\n", esp_last_error());
    return 1;
  }
  int failures = 0;
  bool is_written = true;
  {
    const size_t l2 = l2_bytes();
    const size_t pool = is_tiny ? 1u << 18 : size_t{1} << 30;
    Tools tools = {context, cpu, {}, Flush(is_tiny ? 1u << 16 : std::max<size_t>(2 * l2, 64u << 20)), LogitPool(pool),
                   kIsEmulated ? Samples{0, 1, 1} : Samples{5, 100, 40}, l2};
    results.copied = copy_bytes_per_second(tools.stream, is_tiny ? 1u << 16 : is_quick ? 256u << 20 : 1u << 30);
    results.empty = time_warm(tools.stream, tools.samples, 1, [] {}).median;
    printf("time: %s, driver %u, runtime %u; copies move %.0f GB/s (read and written); two events alone are %.2f us apart\n", device.name,
           device.driver_version, device.runtime_version, results.copied / 1e9, results.empty);
    printf("time: microseconds for one step; graph of %u (p95), launched one by one, one in a graph with a cold L2, streamed logits, STATIC in a graph\n", kGraphSteps);
    printf("%5s %5s %7s %10s %5s %-6s %-8s %9s %9s %9s %9s %9s %10s %8s\n", "B", "M", "V", "leaves", "sets", "level", "logits", "graph", "p95", "launched",
           "cold", "streamed", "STATIC", "ratio");
    for (const Plan &plan : plans) {
      if (seconds_since(start) > seconds) continue;
      const Catalog catalog(context, plan.shape, plan.sets, plan.has_baseline);
      results.add_catalog(catalog, plan.shape.vocab_size);
      for (const Axes &axes : plan.axes) {
        for (const esp_logit_type type : kTypes) {
          if (!is_planned(is_tiny, axes, type) || seconds_since(start) > seconds) continue;
          measure(tools, catalog, axes, type, kDepths, [&](const Row &row) {
            results.rows.push_back(row);
            print_row(row);
            is_written &= results.write(out);
            if (!row.is_equal_to_cpu || !row.is_equal_to_baseline) failures++;
          });
        }
      }
    }
  }
  esp_stepper_release(cpu);
  esp_cuda_close(context);

  if (!is_written) fprintf(stderr, "time: %s could not be written\n", out);
  printf("time: %zu rows, %d differ, %zu left out for want of time, %.0f s\n", results.rows.size(), failures, results.left_out(), seconds_since(start));
  return failures == 0 && is_written && !results.rows.empty() ? 0 : 1;
}
