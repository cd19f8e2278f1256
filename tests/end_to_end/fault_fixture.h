// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_END_TO_END_FAULT_FIXTURE_H_
#define REEMBED_TESTS_END_TO_END_FAULT_FIXTURE_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/pace/rate_limiter.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// A table of notes, the command that embeds it in place, and a server that misbehaves as the test says. What must
// hold after any fault is asked of the table, of the ledger and of what the server sold, never of the summary alone.
// At the end of each test the API key is searched for in everything that the command wrote or said.
class FaultTest : public ::testing::Test {
 protected:
  static constexpr int kDim = 8;
  static constexpr char kKey[] = "sk-very-secret-0123456789";

  // What the server does with the n-th request for notes, from 0, of this server. Other requests, such as that of a
  // probe, are answered well; with all_faulty_ only those that come before any for notes.
  using Script = std::function<ServerReply(int number, const ServerRequest& request)>;

  void MakeNotes(int count);

  // A new server; texts that were sold by earlier ones stay counted.
  void Serve(Script script);
  void Serve(Script script, ScriptedServer::ConnectionScript connections);
  // Answers the first requests from a list and all others well.
  void ServeFirst(std::vector<ServerReply> first);

  // What a good server answers; the texts count as sold.
  ServerReply Sell(const ServerRequest& request, const ReplyScript& script = {});

  // `reembed run` over all notes, in requests of batch_size_ texts, concurrency_ at a time.
  ProcessResult Run(const std::vector<std::string>& more = {});

  // Every note has its own vector, except these.
  void ExpectComplete(const std::vector<int>& without = {});
  // Each vector that is there is that of its note; how many there are. The ledger keeps as many.
  int ExpectNothingForeign();
  // No text was sold more often than that.
  void ExpectSoldAtMost(int times);
  int SoldTexts();

  // A query of one number to the ledger, without the code under test.
  int64_t Ledger(const std::string& sql) const;
  // Why a note was rejected; empty: it was not.
  std::string RejectReason(int id) const;

  // Requests for notes that this server got, and when.
  int requests();
  std::vector<Moment> arrivals();
  std::vector<std::vector<std::string>> asked();

  std::string NoteText(int id) const;
  std::string db() const { return folder_ / "notes.db"; }
  std::string job() const { return folder_ / "job"; }

  void TearDown() override;

  TempFolder folder_;
  int notes_ = 0;
  int batch_size_ = 4;
  int concurrency_ = 2;
  std::string key_ = kKey;
  std::string max_wait_ = "0.05";
  std::string timeout_ = "20";
  bool all_faulty_ = false;
  std::unique_ptr<ScriptedServer> server_;

 private:
  std::mutex mutex_;  // guards what follows
  std::map<std::string, int> sold_;
  std::vector<Moment> arrivals_;
  std::vector<std::vector<std::string>> asked_;
  std::string said_;  // all output of the command
};

// The value of a member of the summary, as JSON text.
std::string Summary(const ProcessResult& result, const std::string& name);

// A vector as SQLite's hex() shows the bytes of [dim] float32, little-endian.
std::string HexOf(const std::vector<float>& vector);

}  // namespace reembed

#endif  // REEMBED_TESTS_END_TO_END_FAULT_FIXTURE_H_
