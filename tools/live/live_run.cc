// SPDX-License-Identifier: Apache-2.0
#include "tools/live/live_run.h"

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/status_macros.h"
#include "tools/format.h"
#include "tools/live/run_json.h"
#include "tools/progress.h"

namespace reembed {
namespace {

constexpr char kWords[] = "status, pause, resume, rate rpm=N tpm=N, concurrency N, stop, abort";

absl::Status SetRate(absl::Span<const absl::string_view> words, RunControl* control) {
  std::optional<double> rpm, tpm;
  for (const absl::string_view word : words) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(word, absl::MaxSplits('=', 1));
    double rate = 0;
    if ((parts.first != "rpm" && parts.first != "tpm") || !absl::SimpleAtod(parts.second, &rate)) {
      return absl::InvalidArgumentError(absl::StrCat("rate: expected rpm=N or tpm=N, got ", word));
    }
    (parts.first == "rpm" ? rpm : tpm) = rate;
  }
  return control->SetRate(rpm, tpm);
}

absl::Status SetConcurrency(absl::Span<const absl::string_view> words, RunControl* control) {
  int requests = 0;
  if (words.size() != 1 || !absl::SimpleAtoi(words[0], &requests)) {
    return absl::InvalidArgumentError(
        absl::StrCat("concurrency: expected a number of requests, got ", absl::StrJoin(words, " ")));
  }
  return control->SetConcurrency(requests);
}

void AddWish(const PaceWish& wish, int most_concurrent, JsonLine* line) {
  constexpr double kNothing = std::numeric_limits<double>::infinity();  // null
  line->AddRaw("paused", wish.paused ? "true" : "false")
      .Add("rpm", wish.requests_per_minute.value_or(kNothing))
      .Add("tpm", wish.tokens_per_minute.value_or(kNothing))
      .Add("concurrency", wish.concurrency.has_value() ? *wish.concurrency : kNothing)
      .Add("most_concurrent", most_concurrent);
}

std::string StreamJson(const LiveLook::Stream& stream) {
  return JsonLine("stream")
      .Add("name", stream.name)
      .AddRaw("ended", stream.ended ? "true" : "false")
      .Add("rows_through", stream.run.rows_through())
      .Add("rows_rejected", stream.run.rows_rejected)
      .ToString();
}

}  // namespace

void LiveRun::Begin(const std::string& stream, RunWatch* watch) {
  const MutexLock lock(&mutex_);
  streams_.push_back({.name = stream, .run = watch->TakeAtOnce()});
  watch_ = watch;
}

void LiveRun::End(const RunSnapshot& last) {
  MutexLock lock(&mutex_);
  asked_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return asking_ == 0; });
  watch_ = nullptr;
  streams_.back().run = last;
  streams_.back().ended = true;
}

void LiveRun::Finish(ExitCode code) {
  const MutexLock lock(&mutex_);
  exit_code_ = code;
}

LiveLook LiveRun::Look() const {
  LiveLook look{.job = parts_.job,
                .streams_in_all = parts_.streams,
                .wish = parts_.control->wish(),
                .most_concurrent = parts_.control->most_concurrent()};
  {
    const MutexLock lock(&mutex_);
    look.streams = streams_;
    look.exit_code = exit_code_;
    if (watch_ != nullptr) look.streams.back().run = watch_->TakeAtOnce();
  }
  if (look.streams.size() == 1) {
    look.total = look.streams[0].run;
  } else {
    for (const LiveLook::Stream& stream : look.streams) Add(stream.run, &look.total);
  }
  look.state = look.exit_code.has_value() ? "finished"
               : parts_.signal() != 0     ? "stopping"
               : look.streams.empty()     ? "preparing"
               : look.wish.paused         ? "paused"
                                          : "running";
  return look;
}

LiveLook LiveRun::LookAtAll() {
  RunWatch* watch = nullptr;
  {
    const MutexLock lock(&mutex_);
    watch = watch_;
    if (watch != nullptr) ++asking_;
  }
  if (watch != nullptr) {
    watch->Take();
    const MutexLock lock(&mutex_);
    --asking_;
    asked_.notify_all();
  }
  return Look();
}

absl::StatusOr<std::string> LiveRun::Obey(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
  const absl::string_view word = words.empty() ? "" : words[0];
  const auto rest = absl::MakeConstSpan(words).subspan(words.empty() ? 0 : 1);
  const bool alone = rest.empty();
  if (word == "status" && alone) return LookJson(Look());
  {
    const MutexLock lock(&mutex_);
    if (exit_code_.has_value())
      return absl::FailedPreconditionError("the run is over; it cannot be controlled any more");
  }
  absl::Status done;
  if (word == "pause" && alone) {
    parts_.control->Pause();
  } else if (word == "resume" && alone) {
    parts_.control->Resume();
  } else if (word == "rate") {
    done = SetRate(rest, parts_.control);
  } else if (word == "concurrency") {
    done = SetConcurrency(rest, parts_.control);
  } else if (word == "stop" && alone) {
    parts_.stop();
  } else if (word == "abort" && alone && parts_.abort != nullptr) {
    parts_.abort();
  } else {
    done = absl::InvalidArgumentError(absl::StrCat("expected one of: ", kWords, "; got ", line));
  }
  ABSL_RETURN_IF_ERROR(done);
  JsonLine answer("control");
  answer.Add("said", absl::StrJoin(words, " "));
  AddWish(parts_.control->wish(), parts_.control->most_concurrent(), &answer);
  return answer.ToString();
}

std::string LookJson(const LiveLook& look) {
  JsonLine line("run");
  line.Add("job", look.job).Add("state", look.state);
  if (look.exit_code.has_value()) {
    line.Add("exit_code", static_cast<int>(*look.exit_code));
  } else {
    line.AddRaw("exit_code", "null");
  }
  std::vector<std::string> streams;
  for (const LiveLook::Stream& stream : look.streams) streams.push_back(StreamJson(stream));
  JsonLine wish("wish");
  AddWish(look.wish, look.most_concurrent, &wish);
  line.Add("line", LookLine(look, std::numeric_limits<size_t>::max()))
      .Add("streams_in_all", look.streams_in_all)
      .AddRaw("streams", absl::StrCat("[", absl::StrJoin(streams, ","), "]"))
      .AddRaw("wish", wish.ToString())
      .AddRaw("run", RunJson(look.total));
  return line.ToString();
}

std::string LookLine(const LiveLook& look, size_t columns) {
  std::string line = absl::StrCat(look.state, ": ");
  if (look.streams.empty()) return absl::StrCat(look.state, "; no row has been asked for yet").substr(0, columns);
  const LiveLook::Stream& last = look.streams.back();
  if (!last.name.empty()) absl::StrAppend(&line, last.name, ", ");
  // What other streams did is not what this one has before it.
  return line.size() >= columns ? line.substr(0, columns)
                                : absl::StrCat(line, ProgressLine(last.run, columns - line.size()));
}

}  // namespace reembed
