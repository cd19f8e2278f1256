// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_END_TO_END_ROLLBACK_CASES_H_
#define REEMBED_TESTS_END_TO_END_ROLLBACK_CASES_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/fakes/temp_folder.h"

namespace reembed {

// A store with rows, of which most have a vector of another model, and what runs over it. Every store or server is a
// real one, but Qdrant; it ends with the object.
class RollbackCase {
 public:
  static constexpr int kRows = 1200;
  static constexpr int kDim = 64;  // that a run makes, as StallingModel does

  virtual ~RollbackCase() = default;

  // What `reembed run` is told besides embedder, width and job.
  virtual std::vector<std::string> Args() const = 0;

  // Everything in the store that a rollback must put back: every row, column, payload field and file.
  virtual std::string Dump() = 0;

  // Whether a lease is in the store. One of a killed run stays until the next run there ends, so Dump() does not show
  // it.
  virtual bool HasLease() { return false; }

  // Gives three rows that a run embeds another text, or their own back. Not every case can.
  virtual void EditTexts(bool back);

  // What is wrong, for people; empty: all is as `before`, which is an earlier Dump().
  virtual std::string Difference(const std::string& before);

  // What a run after a rollback makes, beside the Dump() of the run before it.
  enum class Again { kSame, kInOtherOrder, kOther };
  virtual Again again() const { return Again::kSame; }
};

// The names of all cases.
std::vector<std::string> RollbackCaseNames();

std::unique_ptr<RollbackCase> MakeRollbackCase(const std::string& name, const TempFolder& folder);

// Every table of an SQLite file, but for that of leases, with every column's type and bytes, the full text index
// through its own door.
std::string DumpSqlite(const std::string& path);

// Where two dumps begin to differ; empty: they do not. Dumps are too long for a matcher to compare them line by line.
std::string FirstDifference(const std::string& wanted, const std::string& got);

}  // namespace reembed

#endif  // REEMBED_TESTS_END_TO_END_ROLLBACK_CASES_H_
