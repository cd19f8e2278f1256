// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <vector>

#include "engine/text/lexical_embedder.h"
#include "index/index_spec.h"
#include "io/job/job_store.h"

int main(int argc, char** argv) {
  std::vector<float> vector(64);
  reembed::EmbedLexically("a text", absl::MakeSpan(vector));
  const auto job = reembed::JobStore::Open(argc > 1 ? argv[1] : "job", {.source = "none", .model = "none", .dim = 64});
  std::printf("%zu numbers, %s, job %s\n", vector.size(), std::string(MetricName(reembed::Metric::kCosine)).c_str(),
              job.ok() ? "opened" : job.status().ToString().c_str());
  return job.ok() ? 0 : 1;
}
