// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_CRASH_STORE_H_
#define REEMBED_TESTS_CRASH_CRASH_STORE_H_

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/expected_table.h"

namespace reembed {

// A source with its targets: what a job of the crash test is between. Used by one thread.
class CrashStore {
 public:
  virtual ~CrashStore() = default;

  // Makes everything new, as before a first run, below `folder`, which is empty.
  virtual void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) = 0;

  // Whether keys must be numbers.
  virtual bool number_keys_only() const { return false; }

  // Whether retry-rejects can complete it.
  virtual bool may_retry() const { return true; }

  // What `reembed run` is told of them.
  virtual std::vector<std::string> Args() const = 0;
  virtual int targets() const { return 1; }

  // Compares every target with the table. After a kill only those whose rows can be seen before all are there.
  virtual void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) = 0;

  // Everything there that no job may change.
  virtual std::string Others() { return ""; }

  // Everything that a rollback must put back, byte for byte; empty: there is no way back.
  virtual std::string Dump() { return ""; }

  // What `reembed backup` is told; empty: no copy is made. Spoil() then changes what the copy was made of.
  virtual std::string BackupSource() const { return ""; }
  virtual void Spoil() {}

  // Whether the server has crashed by itself, as one of somebody else's may: the last job says nothing of the command.
  // It has a new server now.
  virtual bool TakesNewServer() { return false; }

  // Stops a server in the midst and starts it again; false: there is none.
  virtual bool Disturb() { return false; }
};

// Names of all stores: those on this machine's disk, and those of real servers (Qdrant: of its rules).
std::vector<std::string> LocalStores();
std::vector<std::string> ServerStores();

// key -> bytes of the vector of every row that can be read at `uri`, by the product's own reader.
std::map<std::string, std::string> ReadTarget(const std::string& uri, int dim, Findings* findings);

// An SQLite file with the rows of a table: t(k, body, v, other), a third of them with an old vector of another width.
// Returns those, by key.
std::map<std::string, std::string> MakeSqliteRows(const std::string& path, const ExpectedTable& table, bool old_vectors,
                                                  std::mt19937_64* random);

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_CRASH_STORE_H_
