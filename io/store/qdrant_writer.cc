#include "io/store/qdrant_writer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

// Qdrant advises 64 to 256 points a request and takes 32 MB, unless it is told otherwise.
// Source: qdrant.tech, "Bulk upload"; config/config.yaml, service.max_request_size_mb.
constexpr size_t kMaxPoints = 256;
constexpr size_t kMaxBytes = size_t{4} << 20;

}  // namespace

QdrantWriter::QdrantWriter(QdrantClient* client, std::string path, Failed failed)
    : client_(client),
      path_(absl::StrCat(path, "?wait=true")),
      failed_(std::move(failed)),
      next_(std::make_shared<Points>()) {}

void QdrantWriter::Add(size_t tag, std::string json) {
  next_->tags.push_back(tag);
  next_->bytes += json.size();
  next_->json.push_back(std::move(json));
  if (next_->tags.size() < kMaxPoints && next_->bytes < kMaxBytes) return;
  Send(std::exchange(next_, std::make_shared<Points>()));
}

void QdrantWriter::Finish() {
  if (!next_->tags.empty()) Send(std::exchange(next_, std::make_shared<Points>()));
  client_->Drain();
}

void QdrantWriter::Send(std::shared_ptr<Points> points) {
  std::string body;
  body.reserve(points->bytes + points->json.size() + 16);
  body.append(R"({"points":[)");
  for (const std::string& json : points->json) {
    body.append(json);
    body.push_back(',');
  }
  body.back() = ']';
  body.push_back('}');
  client_->Start({"PUT", path_, std::move(body)},
                 [this, points](QdrantClient::Answer answer) { Take(points, answer.status()); });
}

void QdrantWriter::Take(std::shared_ptr<Points> points, const absl::Status& status) {
  if (status.ok()) return;
  if (!absl::IsOutOfRange(status) || points->tags.size() == 1) return failed_(points->tags, status);
  const auto half = static_cast<std::ptrdiff_t>(points->tags.size() / 2);
  auto second = std::make_shared<Points>();
  second->tags.assign(points->tags.begin() + half, points->tags.end());
  second->json.assign(std::make_move_iterator(points->json.begin() + half),
                      std::make_move_iterator(points->json.end()));
  points->tags.resize(static_cast<size_t>(half));
  points->json.resize(static_cast<size_t>(half));
  Send(std::move(points));
  Send(std::move(second));
}

}  // namespace reembed
