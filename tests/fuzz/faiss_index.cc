// SPDX-License-Identifier: Apache-2.0
// FAISS's own file, whose checksum is right: what somebody made who means harm.
#include <omp.h>

#include <string>
#include <vector>

#include "index/faiss_io.h"
#include "index/index_files.h"
#include "index/index_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/other_process.h"

// FAISS 1.7.3 loses what it has made so far when it throws while reading a file.
extern "C" const char* __lsan_default_suppressions() { return "leak:faiss::read_"; }

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  // For that, all memory would be looked through for each input; it is at the end.
  reembed::fuzz::AddOption("-detect_leaks=0", argc, argv);
  // Some rows are searched sooner by one thread than others are woken.
  omp_set_num_threads(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  Checksum checksum;
  checksum.Add(data, size);
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  IndexDescription description{.model = {.name = "m", .dim = 32},
                               .metric = Metric::kL2,
                               .factory = "Flat",
                               .rows = 3,
                               .faiss_version = FaissVersion(),
                               .index_file = {.bytes = static_cast<int64_t>(size), .checksum = checksum.Value()}};
  description.factory = std::vector<std::string>{"Flat", "HNSW4", "IVF1,Flat"}[size % 3];
  const std::string path = scratch.Write("index", bytes);
  scratch.Write("index.json", DescriptionJson(description));
  Saw(LoadFaissIndex(path, description.index_file).status());
  absl::StatusOr<std::unique_ptr<IndexReader>> reader = IndexReader::Open(path);
  Saw(reader.status());
  if (!reader.ok()) return 0;
  const std::vector<float> query((*reader)->dim(), 0.5f);
  Saw((*reader)->Search(query, 3, {}).status());
  return 0;
}
