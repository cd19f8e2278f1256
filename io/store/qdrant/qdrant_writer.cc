// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

// Qdrant advises 64 to 256 points a request and takes 32 MB, unless it is told otherwise.
// Source: qdrant.tech, "Bulk upload"; config/config.yaml, service.max_request_size_mb.
constexpr size_t kMaxPoints = 256;
constexpr size_t kMaxBytes = size_t{4} << 20;
constexpr absl::string_view kHead = R"({"points":[)";
constexpr absl::string_view kTail = "]}";

}  // namespace

QdrantWriter::QdrantWriter(QdrantClient* client, absl::string_view path, Failed failed)
    : client_(client), path_(absl::StrCat(path, "?wait=true")), failed_(std::move(failed)), next_(NoPoints()) {}

std::shared_ptr<QdrantWriter::Points> QdrantWriter::NoPoints() {
  return std::make_shared<Points>(Points{.body = std::make_shared<std::string>(kHead)});
}

void QdrantWriter::CloseLast(Points* points) { points->body->push_back(','); }

std::shared_ptr<QdrantWriter::Points> QdrantWriter::Part(const Points& points, size_t begin, size_t end) {
  std::shared_ptr<Points> part = NoPoints();
  const size_t from = points.begins[begin];
  const size_t to = end == points.begins.size() ? points.body->size() - kTail.size() + 1 : points.begins[end];
  part->body->append(*points.body, from, to - from);
  part->body->back() = ',';  // behind the last of all there is a bracket
  for (size_t i = begin; i < end; ++i) {
    part->tags.push_back(points.tags[i]);
    part->begins.push_back(points.begins[i] - from + kHead.size());
  }
  return part;
}

std::string* QdrantWriter::Add(size_t tag) {
  if (next_->tags.empty()) {
    next_->body->reserve(kMaxBytes + kMaxBytes / 8);
  } else {
    CloseLast(next_.get());
    if (next_->tags.size() >= kMaxPoints || next_->body->size() >= kMaxBytes) {
      Send(std::exchange(next_, NoPoints()));
      next_->body->reserve(kMaxBytes + kMaxBytes / 8);
    }
  }
  next_->tags.push_back(tag);
  next_->begins.push_back(next_->body->size());
  return next_->body.get();
}

void QdrantWriter::Finish() {
  if (!next_->tags.empty()) {
    CloseLast(next_.get());
    Send(std::exchange(next_, NoPoints()));
  }
  client_->Drain();
}

void QdrantWriter::Send(std::shared_ptr<Points> points) {
  points->body->pop_back();
  absl::StrAppend(points->body.get(), kTail);
  QdrantRequest request{.method = "PUT", .path = path_, .long_body = points->body};
  // Take() owns them then, and lets them go before it sends their halves.
  client_->Start(std::move(request), [this, points = std::move(points)](const QdrantClient::Answer& answer) mutable {
    Take(std::move(points), answer.status());
  });
}

void QdrantWriter::Take(std::shared_ptr<Points> points, const absl::Status& status) {
  if (status.ok()) return;
  const size_t count = points->tags.size();
  const bool may_be_one_point = absl::IsOutOfRange(status) || absl::IsInvalidArgument(status);
  if (!may_be_one_point || count == 1) return failed_(points->tags, status);
  std::shared_ptr<Points> first = Part(*points, 0, count / 2), second = Part(*points, count / 2, count);
  points.reset();
  Send(std::move(first));
  Send(std::move(second));
}

}  // namespace reembed
