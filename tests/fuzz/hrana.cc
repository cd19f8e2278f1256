// SPDX-License-Identifier: Apache-2.0
// Answers of libSQL servers.
#include <string>

#include "io/store/sqlite/hrana_answer.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const HranaServer server{.name = "libsql://here", .url = "http://here", .token = "a-secret-token"};
  Input input(data, size);
  const size_t kind = input.Choose(4);
  const std::string answer(input.rest());
  absl::Status status;
  if (kind == 0) {
    int parameters = 0;
    status = ReadHranaParameters(server, answer, &parameters);
    Require(parameters >= 0 && parameters <= static_cast<int>(size), "there are not more parameters than bytes");
  } else if (kind == 1) {
    HranaRows rows;
    status = ReadHranaRows(server, answer, &rows);
    if (status.ok()) Require(rows.values.size() == rows.rows() * rows.columns, "rows are whole");
  } else if (kind == 2) {
    HranaStream stream;
    status = ReadHranaStream(server, answer, &stream);
    Require(!status.ok() || !stream.baton.empty(), "a stream goes on with a baton");
  } else {
    std::vector<HranaStep> steps;
    status = ReadHranaSteps(server, answer, 2, &steps);
    Require(!status.ok() || steps.size() == 2, "every statement has an outcome");
  }
  Saw(status);
  Require(status.message().find(server.token) == absl::string_view::npos, "a token is in no message");
  return 0;
}
