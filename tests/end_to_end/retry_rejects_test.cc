// SPDX-License-Identifier: Apache-2.0
// retry-rejects: what was rejected is tried again and bought, and nothing else; and what the receipts say of it.

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class RetryRejectsTest : public FaultTest {
 protected:
  ProcessResult Command(std::vector<std::string> args) {
    args.insert(args.begin(), REEMBED_BINARY);
    return RunProcess(args, {{"HOME", folder_.path()},
                             {"XDG_STATE_HOME", folder_ / "state"},
                             {"XDG_CONFIG_HOME", folder_ / "config"},
                             {"OPENAI_BASE_URL", ""},
                             {"OPENAI_API_KEY", key_}});
  }
  ProcessResult Retry() { return Command({"retry-rejects", job(), "--json", "--api-base", server_->url() + "/v1"}); }

  // A server that refuses texts with this word in them.
  void ServeWithout(const std::string& word) {
    Serve([this, word](int, const ServerRequest& request) {
      for (const std::string& text : TextsOf(request.body)) {
        if (absl::StrContains(text, word)) {
          return OpenAiError(400, "", "invalid_request_error", "Invalid 'input': this is not to be said.");
        }
      }
      return Sell(request);
    });
  }
};

TEST_F(RetryRejectsTest, BuysWhatWasRejectedAndNothingElseAndServesEveryTarget) {
  MakeNotes(60);
  // Three have no text; two have one that the API refuses, and it is the same text.
  Change(db(), "UPDATE notes SET body = NULL WHERE id IN (3, 30); UPDATE notes SET body = '' WHERE id = 58");
  Change(db(), absl::StrCat("UPDATE notes SET body = '", NoteText(17), "' WHERE id = 40"));
  ServeWithout("number 17 ");
  const std::string npy = folder_ / "notes.npy", faiss = folder_ / "notes.faiss";
  const ProcessResult run = Run({"--target", "npy:" + npy, "--target", "faiss:" + faiss + "?factory=Flat"});
  ASSERT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(Summary(run, "rows_rejected"), "5");
  EXPECT_THAT(Command({"status", job()}).out, HasSubstr("reembed retry-rejects"));
  const int sold = SoldTexts();

  // One text is put right; the API takes now what it refused.
  Change(db(), absl::StrCat("UPDATE notes SET body = '", NoteText(30), "' WHERE id = 30"));
  ServeWithout("number 99 ");
  const ProcessResult retry = Retry();
  EXPECT_EQ(retry.exit_code, 3) << retry.err;
  EXPECT_EQ(Summary(retry, "rows_rejected"), "2");
  EXPECT_EQ(Summary(retry, "rows_embedded"), "3");
  EXPECT_EQ(Summary(retry, "texts_embedded"), "2");
  ExpectSoldAtMost(1);
  EXPECT_EQ(SoldTexts(), sold + 2);
  std::vector<std::string> asked_texts;
  for (const auto& request : asked()) asked_texts.insert(asked_texts.end(), request.begin(), request.end());
  EXPECT_THAT(asked_texts, ::testing::UnorderedElementsAre(NoteText(17), NoteText(30)));
  for (const auto& [id, text] : {std::pair(17, 17), std::pair(40, 17), std::pair(30, 30), std::pair(5, 5)}) {
    EXPECT_THAT(Query(db(), absl::StrCat("SELECT hex(embedding) FROM notes WHERE id = ", id)),
                ElementsAre(HexOf(TextVector(NoteText(text), kDim))))
        << id;
  }
  EXPECT_THAT(Query(db(), "SELECT group_concat(id) FROM notes WHERE embedding IS NULL"), ElementsAre("3,58"));
  EXPECT_EQ(RejectReason(3), "the text is NULL");
  // Every target has every row that has a vector, and in it that row's own.
  const ProcessResult verify = Command({"verify", job()});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  EXPECT_THAT(verify.out + verify.err, Not(HasSubstr("differ")));
  EXPECT_EQ(std::filesystem::file_size(npy), 128u + 58 * kDim * 4);

  // A second time there is nothing new to be had, and nothing is sold again.
  EXPECT_EQ(Retry().exit_code, 3);
  ExpectSoldAtMost(1);
  Change(db(), absl::StrCat("UPDATE notes SET body = '", NoteText(3), "' WHERE id = 3; UPDATE notes SET body = '",
                            NoteText(58), "' WHERE id = 58"));
  EXPECT_EQ(Retry().exit_code, 0);
  const ProcessResult none = Retry();
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(Summary(none, "rows_taken_back"), "0");
}

TEST_F(RetryRejectsTest, AfterARollbackItAsksBeforeItWritesAllRowsAgain) {
  MakeNotes(10);
  Change(db(), "UPDATE notes SET body = NULL WHERE id = 4");
  ServeWithout("number 99 ");
  ASSERT_EQ(Run().exit_code, 3);
  ASSERT_EQ(Command({"rollback", job(), "--yes"}).exit_code, 0);
  const std::string vectors = "SELECT count(*) FROM notes WHERE embedding IS NOT NULL";
  ASSERT_THAT(Query(db(), vectors), ElementsAre("0"));
  Change(db(), absl::StrCat("UPDATE notes SET body = '", NoteText(4), "' WHERE id = 4"));
  const ProcessResult asked = Retry();
  EXPECT_EQ(asked.exit_code, 2) << asked.out;
  EXPECT_THAT(asked.err + asked.out,
              AllOf(HasSubstr("was rolled back"), HasSubstr("9 other rows"), HasSubstr("--yes")));
  EXPECT_THAT(Query(db(), vectors), ElementsAre("0"));
  EXPECT_EQ(RejectReason(4), "the text is NULL") << "nothing was taken back";
  const ProcessResult retry =
      Command({"retry-rejects", job(), "--json", "--api-base", server_->url() + "/v1", "--yes"});
  EXPECT_EQ(retry.exit_code, 0) << retry.err;
  EXPECT_THAT(Query(db(), vectors), ElementsAre("10"));
  ExpectSoldAtMost(1);
}

TEST_F(RetryRejectsTest, WithoutAKeyTheReasonsStay) {
  MakeNotes(10);
  Change(db(), "UPDATE notes SET body = NULL WHERE id = 4");
  ServeWithout("number 99 ");
  ASSERT_EQ(Run().exit_code, 3);
  key_ = "";
  const ProcessResult retry = Command({"retry-rejects", job(), "--api-base", "https://api.example.com/v1"});
  EXPECT_EQ(retry.exit_code, 6) << retry.err;
  EXPECT_EQ(RejectReason(4), "the text is NULL");
  EXPECT_EQ(Command({"retry-rejects", folder_ / "none"}).exit_code, 2);
}

TEST_F(RetryRejectsTest, ReceiptsSayWhatAndWhen) {
  MakeNotes(10);
  concurrency_ = 1;
  ServeFirst({OpenAiError(401, "invalid_api_key", "invalid_request_error", "Incorrect API key")});
  ASSERT_EQ(Run().exit_code, 6);
  ServeWithout("number 99 ");
  ASSERT_EQ(Run().exit_code, 0);
  ASSERT_EQ(Run().exit_code, 0) << "nothing to do";
  const ProcessResult status = Command({"status", job(), "--json"});
  std::vector<std::string> receipts;
  for (size_t at = 0; (at = status.out.find("{\"message_type\":\"receipt\"", at)) != std::string::npos; ++at) {
    receipts.push_back(status.out.substr(at, status.out.find('\n', at) - at));
  }
  ASSERT_EQ(receipts.size(), 3u) << status.out;
  EXPECT_THAT(receipts[0], AllOf(HasSubstr("\"switched\":null"), HasSubstr("\"rows_embedded\":0")));
  EXPECT_THAT(receipts[1], AllOf(HasSubstr("\"switched\":\"2"), HasSubstr("\"rows_embedded\":10"),
                                 HasSubstr("\"model\":\"fake\""), HasSubstr(absl::StrCat("\"dimensions\":", kDim)),
                                 HasSubstr(server_->url()), HasSubstr("\"tokens\":"), HasSubstr("\"cost_usd\":")));
  EXPECT_THAT(receipts[2], HasSubstr("\"switched\":null")) << "nothing was switched";
  EXPECT_THAT(Command({"status", job()}).out,
              AllOf(HasSubstr("targets complete at"), HasSubstr(", by " + server_->url()), HasSubstr("10 rows, "),
                    HasSubstr(absl::StrCat("fake, ", kDim, " dimensions"))));

  // A ledger of the first programs has no such table.
  Change(job() + "/ledger.db", "DROP TABLE receipt_details");
  const ProcessResult old = Command({"status", job(), "--json"});
  EXPECT_EQ(old.exit_code, 0) << old.err;
  EXPECT_THAT(old.out, HasSubstr("\"endpoints\":[]"));
  EXPECT_EQ(Run().exit_code, 0);
}

}  // namespace
}  // namespace reembed
