// SPDX-License-Identifier: Apache-2.0
#include "engine/reject_meter.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace reembed {
namespace {

// The reason without its figures, so that "12 tokens" and "1,300 tokens" are one.
std::string ShapeOf(const absl::Status& reason) {
  std::string shape(1, static_cast<char>(reason.code()));
  for (const char c : reason.message()) {
    const bool part_of_figure = absl::ascii_isdigit(c) || ((c == ',' || c == '.') && shape.back() == '#');
    if (!part_of_figure) shape.push_back(c);
    if (part_of_figure && shape.back() != '#') shape.push_back('#');
  }
  return shape;
}

}  // namespace

void RejectMeter::Note(KeyView key, const absl::Status& reason) {
  std::string shape = ShapeOf(reason);
  const MutexLock lock(&mutex_);
  const auto same =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.shape == shape; });
  if (same != entries_.end()) {
    ++same->rejected.rows;
  } else if (entries_.size() < kMostReasons) {
    entries_.push_back({std::move(shape), {.reason = reason, .example = Own(key), .rows = 1}});
  } else {
    if (others_.rows++ > 0) return;
    others_.reason = absl::UnknownError("for other reasons");
    others_.example = Own(key);
  }
}

std::vector<RejectedFor> RejectMeter::List() const {
  std::vector<RejectedFor> list;
  const MutexLock lock(&mutex_);
  for (const Entry& entry : entries_) list.push_back(entry.rejected);
  std::stable_sort(list.begin(), list.end(),
                   [](const RejectedFor& a, const RejectedFor& b) { return a.rows > b.rows; });
  if (others_.rows > 0) list.push_back(others_);
  return list;
}

}  // namespace reembed
