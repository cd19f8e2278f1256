// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_LIVE_RUN_H_
#define REEMBED_TOOLS_LIVE_LIVE_RUN_H_

#include <condition_variable>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/mutex.h"
#include "engine/pace/run_control.h"
#include "engine/run_snapshot.h"
#include "engine/run_watch.h"
#include "tools/exit_code.h"

namespace reembed {

// A run of the command as somebody sees it who looks at it now.
struct LiveLook {
  struct Stream {
    std::string name;  // empty: the job has no streams
    bool ended = false;
    RunSnapshot run;
  };
  std::string job;              // its directory
  const char* state = "";       // preparing, running, paused, stopping or finished
  std::vector<Stream> streams;  // that have begun, in their order
  int streams_in_all = 1;
  RunSnapshot total;  // of those that have begun
  PaceWish wish;
  int most_concurrent = 0;
  std::optional<ExitCode> exit_code;  // once it is finished
};

// What is to be seen of a run, and done to it, while it goes on: the one room that the terminal, the socket of the job,
// the page and the metrics share. Thread-safe.
class LiveRun {
 public:
  struct Parts {
    std::string job;
    int streams = 1;
    RunControl* control = nullptr;          // borrowed
    std::function<int()> signal;            // that ends the run, or 0; from any thread
    std::function<void()> stop;             // ends it as a first signal would; likewise
    std::function<void()> abort = nullptr;  // as a second one; likewise
  };

  explicit LiveRun(Parts parts) : parts_(std::move(parts)) {}
  LiveRun(const LiveRun&) = delete;
  LiveRun& operator=(const LiveRun&) = delete;

  // A stream begins. `watch` is borrowed until End().
  void Begin(const std::string& stream, RunWatch* watch);
  // It has ended like this. The watch is asked no more when this returns.
  void End(const RunSnapshot& last);
  // All have.
  void Finish(ExitCode code);

  // As it is now. Waits for no disk, see RunWatch::TakeAtOnce().
  LiveLook Look() const;
  // Likewise, and asks the ledger and the money, which may have to wait for a disk. Call it now and then.
  LiveLook LookAtAll();

  // What somebody asks for, as words: `status`, `pause`, `resume`, `rate rpm=N tpm=N`, `concurrency N`, `stop`,
  // `abort`.
  // Returns a line of JSON: of `status` the look (LookJson), of the others what is so now.
  // Errors: kInvalidArgument (says which words there are); kFailedPrecondition (the run is over).
  absl::StatusOr<std::string> Obey(absl::string_view words);

 private:
  const Parts parts_;
  mutable Mutex mutex_;
  std::vector<LiveLook::Stream> streams_ ABSL_GUARDED_BY(mutex_);
  RunWatch* watch_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the last of them; null: that has ended
  std::optional<ExitCode> exit_code_ ABSL_GUARDED_BY(mutex_);
  int asking_ ABSL_GUARDED_BY(mutex_) = 0;  // LookAtAll() that ask the watch, with no lock held
  std::condition_variable_any asked_;
};

// One object of type "run": job, state, streams, wishes, a line for people, and the snapshot of all (RunJson).
std::string LookJson(const LiveLook& look);

// "paused, 1,200 of 5,000 rows, ...": for a terminal of so many columns.
std::string LookLine(const LiveLook& look, size_t columns);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_LIVE_RUN_H_
