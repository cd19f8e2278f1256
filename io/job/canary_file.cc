// SPDX-License-Identifier: Apache-2.0
#include "io/job/canary_file.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/canary.h"
#include "engine/ledger.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/own_file.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "vectors are written as they are in memory");

std::string PathIn(const std::string& job_directory) { return job_directory + "/canary.f32"; }

TextHash HashOfTexts() { return HashText(absl::StrJoin(CanaryTexts(), "\n")); }

}  // namespace

absl::StatusOr<std::vector<float>> ReadCanary(const std::string& job_directory, int dim) {
  const std::string path = PathIn(job_directory);
  ABSL_ASSIGN_OR_RETURN(const bool exists, PathExists(path));
  if (!exists) return std::vector<float>();
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(path));
  std::vector<float> vectors(CanaryTexts().size() * dim);
  const size_t vector_bytes = vectors.size() * sizeof(float);
  std::vector<char> bytes(vector_bytes + sizeof(TextHash) + 1);
  ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(0, absl::MakeSpan(bytes)));
  TextHash hash;
  if (read >= sizeof(TextHash)) std::memcpy(&hash, bytes.data() + read - sizeof(TextHash), sizeof(TextHash));
  if (read != vector_bytes + sizeof(TextHash)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": expected ", vector_bytes + sizeof(TextHash), " bytes for ", CanaryTexts().size(),
                     " vectors of ", dim, " dimensions, got ", read > bytes.size() - 1 ? "more" : absl::StrCat(read),
                     "; remove the file if the job's model is still the same"));
  }
  if (hash != HashOfTexts()) return std::vector<float>();
  std::memcpy(vectors.data(), bytes.data(), vector_bytes);
  return vectors;
}

absl::Status WriteCanary(const std::string& job_directory, absl::Span<const float> vectors) {
  const TextHash hash = HashOfTexts();
  return ReplaceOwnFile(
      PathIn(job_directory),
      absl::StrCat(absl::string_view(reinterpret_cast<const char*>(vectors.data()), vectors.size() * sizeof(float)),
                   absl::string_view(reinterpret_cast<const char*>(&hash), sizeof(hash))));
}

}  // namespace reembed
