// SPDX-License-Identifier: Apache-2.0
#include "engine/text/long_text_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr int kMaxCuts = 12;  // of one piece of a text, one after the other
constexpr size_t kMaxParts = 256;

int64_t TextsAnswered(Batch& batch) {
  int64_t texts = 0;
  for (const Reply& reply : batch.replies()) texts += reply.texts;
  for (const BatchText& text : batch.texts()) texts += text.answered ? 1 : 0;
  return texts;
}

// Keeps a text out of the request of its batch, and never gets out of here.
absl::Status HeldBack() { return absl::UnknownError("held back"); }

}  // namespace

// What is to be embedded of one text. Views are into the arena of its batch.
struct LongTextClient::Piece {
  size_t repair = 0;
  TextPart part;
  int cuts = 0;
};

// One long text on its way to a vector.
struct LongTextClient::Repair {
  struct Taken {
    TextPart part;
    const Round* round;
    int place;
  };

  int text = 0;          // of the batch
  absl::Status refusal;  // not OK: it gets none
  std::vector<Taken> taken;
};

// Pieces on their way in a batch of their own; after they are answered, those that were taken.
struct LongTextClient::Round {
  Round(const BatchLimits& limits, int dim) : batch(limits, dim) {}

  Batch batch;
  std::vector<Piece> pieces;  // its texts, in their order
};

// One Send() that has long texts, until Decode().
struct LongTextClient::Job {
  Job(Batch* of, Done when_done) : batch(of), done(std::move(when_done)) {}

  Round* AddRound(std::vector<Piece> pieces) {
    BatchLimits limits = batch->limits();
    limits.max_texts = limits.max_rows = static_cast<int>(pieces.size());
    limits.max_text_bytes = 0;
    for (const Piece& piece : pieces) limits.max_text_bytes += piece.part.text.size();
    rounds.push_back(std::make_unique<Round>(limits, batch->dim()));
    Round* const round = rounds.back().get();
    for (const Piece& piece : pieces) {
      const auto number = static_cast<int64_t>(round->batch.texts().size());
      round->batch.AddRowWithText(number, number, number, piece.part.text, piece.part.tokens);
    }
    round->batch.set_range(batch->range());
    round->pieces = std::move(pieces);
    ++open;
    return round;
  }

  Batch* const batch;
  Done done;

  Mutex mutex;   // guards what follows, until `open` is 0
  int open = 0;  // batches under way: the job's own and those of rounds
  absl::Status failure;
  std::vector<Repair> repairs;
  std::vector<std::unique_ptr<Round>> rounds;
};

LongTextClient::LongTextClient(EmbeddingClient* client, const CutOptions& options)
    : client_(client), policy_(options.policy), cutter_(options) {}

LongTextClient::~LongTextClient() = default;

ClientStats LongTextClient::stats() const {
  ClientStats stats = client_->stats();
  stats.texts_dropped += texts_dropped_;
  return stats;
}

void LongTextClient::Send(Batch* batch, Done done) {
  JobPtr begun;
  {
    const MutexLock lock(&mutex_);
    if (const auto found = answered_.find(batch); found != answered_.end()) {
      if (batch->attempts() > 0) begun = std::move(found->second);
      answered_.erase(found);
    }
  }
  if (begun != nullptr) return SendAgain(begun, std::move(done));
  auto job = std::make_shared<Job>(batch, std::move(done));
  MutexLock lock(&job->mutex);
  job->open = 2;  // the batch, and this function
  const std::vector<Round*> rounds = HoldBack(job.get());
  lock.unlock();
  client_->Send(batch, Done([this, job](absl::Status status) { OnBatch(job, std::move(status)); }));
  lock.lock();
  const bool last = --job->open == 0;
  lock.unlock();
  GoOn(job, last, rounds);
}

// After replies that were of no use: each batch asks for what it lacks.
void LongTextClient::SendAgain(const JobPtr& job, Done done) {
  std::vector<Batch*> batches = {job->batch};
  for (const auto& round : job->rounds) batches.push_back(&round->batch);
  job->done = std::move(done);
  job->failure = absl::OkStatus();
  job->open = static_cast<int>(batches.size());
  for (Batch* const batch : batches) {
    client_->Send(batch, Done([this, job](absl::Status status) {
                    MutexLock lock(&job->mutex);
                    if (!status.ok() && job->failure.ok()) job->failure = std::move(status);
                    const bool last = --job->open == 0;
                    lock.unlock();
                    GoOn(job, last, {});
                  }));
  }
}

// Texts that go without their batch.
std::vector<LongTextClient::Round*> LongTextClient::HoldBack(Job* job) {
  std::vector<Round*> rounds;
  std::vector<Piece> sure;
  const absl::Span<BatchText> texts = job->batch->texts();
  for (size_t i = 0; i < texts.size(); ++i) {
    BatchText& text = texts[i];
    text.too_long = {};
    text.embedded = Embedded::kWhole;
    if (!text.reject.ok()) continue;
    const TextCutter::Length length = cutter_.Judge(text.text, text.tokens);
    if (length == TextCutter::Length::kFits) continue;
    const Piece whole{.repair = job->repairs.size(), .part = {.text = text.text, .tokens = text.tokens}};
    job->repairs.push_back({.text = static_cast<int>(i)});
    text.reject = HeldBack();
    if (length == TextCutter::Length::kTooLong) {
      CutAgain(whole, text, job, &sure, &rounds);
    } else {
      rounds.push_back(job->AddRound({whole}));
    }
  }
  if (!sure.empty()) rounds.push_back(job->AddRound(std::move(sure)));
  return rounds;
}

// Requires job->mutex. What is likely to be taken goes together, what may be refused once more goes alone.
void LongTextClient::CutAgain(const Piece& piece, const BatchText& refused, Job* job, std::vector<Piece>* sure,
                              std::vector<Round*>* rounds) {
  Repair& repair = job->repairs[piece.repair];
  const Overlength& said = refused.too_long;
  const std::vector<TextPart> parts =
      piece.cuts < kMaxCuts ? cutter_.Cut(piece.part, said, piece.cuts) : std::vector<TextPart>();
  if (parts.empty()) {
    repair.refusal = absl::InvalidArgumentError(
        absl::StrCat(refused.reject.message(), "; so it was still when cut to ", piece.part.text.size(), " bytes"));
    return;
  }
  if (parts.size() + repair.taken.size() > kMaxParts) {
    repair.refusal =
        absl::InvalidArgumentError(absl::StrCat(refused.reject.message(), "; it would take more than ", kMaxParts,
                                                " parts, of about ", parts.front().text.size(), " bytes each"));
    return;
  }
  std::vector<Piece> pieces;
  pieces.reserve(parts.size());
  for (const TextPart& part : parts) pieces.push_back({.repair = piece.repair, .part = part, .cuts = piece.cuts + 1});
  if (!said.refused || said.tokens > said.limit) {
    sure->insert(sure->end(), pieces.begin(), pieces.end());
  } else {
    rounds->push_back(job->AddRound(std::move(pieces)));
  }
}

void LongTextClient::OnBatch(const JobPtr& job, absl::Status status) {
  MutexLock lock(&job->mutex);
  std::vector<Round*> rounds;
  if (!status.ok()) {
    if (job->failure.ok()) job->failure = std::move(status);
  } else if (job->failure.ok()) {
    std::vector<Piece> sure;
    int64_t longest = 0;
    const absl::Span<BatchText> texts = job->batch->texts();
    for (size_t i = 0; i < texts.size(); ++i) {
      const BatchText& text = texts[i];
      if (text.reject.ok()) longest = std::max(longest, text.tokens);
      if (text.reject.ok() || !text.too_long.refused) continue;
      const Piece whole{.repair = job->repairs.size(), .part = {.text = text.text, .tokens = text.tokens}};
      job->repairs.push_back({.text = static_cast<int>(i)});
      CutAgain(whole, text, job.get(), &sure, &rounds);
    }
    cutter_.Taken(longest);
    if (!sure.empty()) rounds.push_back(job->AddRound(std::move(sure)));
  }
  const bool last = --job->open == 0;
  lock.unlock();
  GoOn(job, last, rounds);
}

void LongTextClient::OnRound(const JobPtr& job, Round* round, absl::Status status) {
  MutexLock lock(&job->mutex);
  std::vector<Round*> rounds;
  std::vector<Piece> sure;
  if (!status.ok() && job->failure.ok()) job->failure = std::move(status);
  for (size_t i = 0; i < round->pieces.size() && job->failure.ok(); ++i) {
    const BatchText& text = round->batch.texts()[i];
    const Piece& piece = round->pieces[i];
    Repair& repair = job->repairs[piece.repair];
    if (!repair.refusal.ok()) continue;
    if (text.reject.ok()) {
      repair.taken.push_back({.part = piece.part, .round = round, .place = static_cast<int>(i)});
      cutter_.Taken(text.tokens);
    } else if (text.too_long.refused) {
      CutAgain(piece, text, job.get(), &sure, &rounds);
    } else {
      repair.refusal = text.reject;
    }
  }
  if (!sure.empty()) rounds.push_back(job->AddRound(std::move(sure)));
  const bool last = --job->open == 0;
  lock.unlock();
  GoOn(job, last, rounds);
}

void LongTextClient::GoOn(const JobPtr& job, bool last, const std::vector<Round*>& rounds) {
  for (Round* const round : rounds) {
    client_->Send(&round->batch,
                  Done([this, job, round](absl::Status status) { OnRound(job, round, std::move(status)); }));
  }
  if (last) Finish(job);
}

void LongTextClient::Finish(const JobPtr& job) {
  for (const auto& round : job->rounds) {
    if (!job->failure.ok()) texts_dropped_ += TextsAnswered(round->batch);
  }
  // Of a batch that failed nothing is said about its texts.
  for (const Repair& repair : job->repairs) {
    BatchText& text = job->batch->texts()[repair.text];
    if (!job->failure.ok()) {
      text.reject = absl::OkStatus();
    } else if (!repair.refusal.ok()) {
      text.reject = repair.refusal;
    }
  }
  if (job->failure.ok() && !job->repairs.empty()) {
    const MutexLock lock(&mutex_);
    answered_[job->batch] = job;
  }
  std::move(job->done)(std::move(job->failure));
}

absl::Status LongTextClient::Decode(Batch* batch) const {
  absl::Status decoded = client_->Decode(batch);
  JobPtr job;
  {
    const MutexLock lock(&mutex_);
    const auto found = answered_.find(batch);
    if (found == answered_.end()) return decoded;
    job = std::move(found->second);
    answered_.erase(found);
  }
  for (const auto& round : job->rounds) {
    if (!decoded.ok() && !absl::IsDataLoss(decoded)) return decoded;
    absl::Status of_round = client_->Decode(&round->batch);
    if (absl::IsDataLoss(of_round)) round->batch.NextAttempt();
    if (!of_round.ok() && (decoded.ok() || !absl::IsDataLoss(of_round))) decoded = std::move(of_round);
  }
  if (absl::IsDataLoss(decoded)) {
    const MutexLock lock(&mutex_);
    answered_[batch] = std::move(job);
    return decoded;
  }
  ABSL_RETURN_IF_ERROR(decoded);
  const int dim = batch->dim();
  for (Repair& repair : job->repairs) {
    if (!repair.refusal.ok()) continue;
    BatchText& text = batch->texts()[repair.text];
    std::sort(repair.taken.begin(), repair.taken.end(),
              [](const Repair::Taken& a, const Repair::Taken& b) { return a.part.text.data() < b.part.text.data(); });
    std::vector<TextPart> parts;
    for (const Repair::Taken& taken : repair.taken) {
      parts.push_back({.text = taken.part.text, .tokens = static_cast<int64_t>(taken.part.text.size())});
    }
    const bool whole = parts.size() == 1 && parts.front().text.size() == text.text.size();
    text.embedded = whole ? Embedded::kWhole : policy_ == LongText::kTruncate ? Embedded::kTruncated : Embedded::kSplit;
    const int count = static_cast<int>(parts.size());
    Batch mean({.max_texts = count, .max_rows = 1, .max_text_bytes = text.text.size()}, dim);
    mean.AddRowWithParts(0, int64_t{0}, 0, parts);
    for (int i = 0; i < count; ++i) {
      const Repair::Taken& taken = repair.taken[i];
      mean.texts()[i].reject = taken.round->batch.texts()[taken.place].reject;
      const auto from = taken.round->batch.vectors().subspan(static_cast<size_t>(taken.place) * dim, dim);
      std::copy(from.begin(), from.end(), mean.vectors().begin() + static_cast<size_t>(i) * dim);
    }
    mean.MergeParts();
    text.reject = mean.texts()[0].reject;
    std::copy(mean.vectors().begin(), mean.vectors().end(),
              batch->vectors().begin() + static_cast<size_t>(repair.text) * dim);
  }
  return absl::OkStatus();
}

}  // namespace reembed
