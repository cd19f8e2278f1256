// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SCRATCH_PLACE_H_
#define REEMBED_TOOLS_SCRATCH_PLACE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/registry.h"

namespace reembed {

// A place like a target, on the same server or in the same folder, under a name of its own: a measure writes to it, and
// it goes with the object. What was there before is never touched.
class ScratchPlace {
 public:
  // `rows`: as many will be written at most, with the keys 0, 1, 2 ... `dim`: of their vectors.
  // Errors: kInvalidArgument (no target, or one of which no like can be made), and those of ScratchWays::make.
  static absl::StatusOr<std::unique_ptr<ScratchPlace>> Make(const Store& target, int dim, int64_t rows);
  ScratchPlace(const ScratchPlace&) = delete;
  ScratchPlace& operator=(const ScratchPlace&) = delete;
  ~ScratchPlace();

  const Store& store() const { return store_; }
  // Bytes of its files; 0: it is no file.
  int64_t FileBytes() const;

  // Errors: of the place; then a user has to remove it, and the message names it.
  absl::Status Remove();

 private:
  explicit ScratchPlace(Store store) : store_(std::move(store)) {}

  const Store store_;
  bool removed_ = false;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SCRATCH_PLACE_H_
