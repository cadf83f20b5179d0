#include "catalog.h"

#include <chrono>
#include <thread>

#include "../../tests/testing.h"

namespace checking {

namespace {

void must_succeed(esp_status status, const char *what) {
  if (status == ESP_OK) return;
  fprintf(stderr, "%s: %s\n", what, esp_last_error());
  exit(1);
}

class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

uint32_t thread_count() { return kIsEmulated ? 1 : std::max(1u, std::thread::hardware_concurrency()); }

std::vector<uint16_t> uniform_codes(const CatalogShape &shape) {
  std::vector<uint16_t> codes(shape.rows * kTimedLevels);
  const uint32_t threads = thread_count();
  const auto fill = [&](uint32_t part) {
    testing::Random random(42 + shape.rows + part);
    for (size_t at = codes.size() * part / threads; at < codes.size() * (part + 1) / threads; at++) {
      codes[at] = static_cast<uint16_t>(random.below(shape.vocab_size));
    }
  };
  std::vector<std::thread> running;
  for (uint32_t part = 1; part < threads; part++) running.emplace_back(fill, part);
  fill(0);
  for (std::thread &one : running) one.join();
  return codes;
}

}  // namespace

Catalog::Catalog(esp_cuda_context *context, const CatalogShape &shape, uint32_t set_count, bool has_baseline) : has_baseline_(has_baseline) {
  const std::vector<uint16_t> codes = uniform_codes(shape);
  const std::vector<uint32_t> sizes(kTimedLevels, shape.vocab_size);
  const esp_rows rows = {codes.data(), ESP_U16, shape.rows, kTimedLevels, sizes.data()};
  // Masks may take half a byte a row, or a megabyte, as the server has it.
  const esp_build_options options = {thread_count(), esp_level_best(), std::max<uint64_t>(shape.rows / 2, 1u << 20), nullptr, nullptr};
  const Clock build;
  must_succeed(esp_trie_build(&rows, &options, &trie_), "the trie");
  build_seconds_ = build.seconds();
  const Clock upload;
  must_succeed(esp_cuda_trie_upload(context, &arrays(), &on_device_), "the upload");
  upload_seconds_ = upload.seconds();
  must_succeed(esp_cuda_constraint_create(on_device_, nullptr, nullptr, 0, &all_), "a constraint");
  must_succeed(esp_constraint_create(trie_, nullptr, nullptr, nullptr, nullptr, 0, &all_on_cpu_), "a constraint");
  sets_.reserve(set_count);
  for (uint32_t index = 0; index < set_count; index++) add_set(index);
  if (has_baseline_) upload_tables();
}

Catalog::~Catalog() {
  for (const Set &set : sets_) {
    esp_constraint_release(set.on_cpu);
    esp_cuda_constraint_release(set.on_device);
  }
  esp_constraint_release(all_on_cpu_);
  esp_cuda_constraint_release(all_);
  esp_cuda_trie_release(on_device_);
  esp_trie_release(trie_);
}

void Catalog::add_set(uint64_t seed) {
  testing::Random random(seed);
  const uint64_t leaves = arrays().leaf_count;
  Set set = {testing::bitmap(leaves), testing::bitmap(arrays().codebook_sizes[0]), testing::bitmap(arrays().top_levels[1].node_count), nullptr, nullptr};
  // One leaf in eight.
  for (uint64_t &word : set.leaf_bits) word = random.next() & random.next() & random.next();
  if (leaves % 64 != 0) set.leaf_bits.back() &= (uint64_t{1} << (leaves % 64)) - 1;
  must_succeed(esp_set_derive(esp_level_best(), trie_, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data()), "a set");
  esp_cuda_set *uploaded = nullptr;
  must_succeed(esp_cuda_set_upload(on_device_, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data(), &uploaded), "a set");
  must_succeed(esp_cuda_constraint_create(on_device_, uploaded, nullptr, 0, &set.on_device), "a constraint");
  esp_cuda_set_release(uploaded);
  must_succeed(esp_constraint_create(trie_, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data(), nullptr, 0, &set.on_cpu), "a constraint");
  // The arrays move with the vector that holds them, and stay where they are.
  sets_.push_back(std::move(set));
}

template <class T>
const T *Catalog::keep(const std::vector<T> &values) {
  const size_t bytes = values.size() * sizeof(T);
  memory_.emplace_back(bytes);
  memory_.back().write(reinterpret_cast<const uint8_t *>(values.data()), bytes);
  baseline_bytes_ += bytes;
  return reinterpret_cast<const T *>(memory_.back().data());
}

void Catalog::upload_tables() {
  using namespace espalier::baseline;
  tables_.level_count = kTimedLevels;
  tables_.vocab_size = arrays().codebook_sizes[0];
  const DenseTables dense = make_dense_tables(arrays());
  tables_.start_mask = keep(dense.start_mask);
  tables_.dense_mask = keep(dense.dense_mask);
  tables_.dense_states = keep(dense.dense_states);
  std::vector<CsrTable> made(kTimedLevels);
  std::vector<std::thread> running;
  for (uint32_t depth = kDenseLevels; depth < kTimedLevels; depth++) {
    running.emplace_back([&, depth] { made[depth] = make_csr_table(arrays(), depth); });
  }
  for (std::thread &one : running) one.join();
  for (uint32_t depth = kDenseLevels; depth < kTimedLevels; depth++) {
    const CsrTable &table = made[depth];
    tables_.levels[depth] = {keep(table.indptr), keep(table.tokens), keep(table.next_states), table.most_branches};
  }
}

}  // namespace checking
