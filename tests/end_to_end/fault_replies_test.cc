// SPDX-License-Identifier: Apache-2.0
// Lines that break, and replies that cannot be trusted.

#include <atomic>
#include <filesystem>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// ---- A fault that passes is repaired; one that stays ends the run, which can be resumed ----

struct Fault {
  const char* name;
  std::function<void(ServerReply* good)> spoil;
  const char* message;  // at the end, when the fault stays
  const char* timeout = "20";
};

class FaultyReplyTest : public FaultTest, public ::testing::WithParamInterface<Fault> {
 protected:
  // A good reply, spoiled. Nothing of it is worth anything, so nothing is sold.
  static ServerReply Spoiled(const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    GetParam().spoil(&reply);
    return reply;
  }
};

TEST_P(FaultyReplyTest, ThatComesOnceIsAskedForAgain) {
  timeout_ = GetParam().timeout;
  MakeNotes(20);
  Serve([this](int number, const ServerRequest& request) { return number == 2 ? Spoiled(request) : Sell(request); });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
  EXPECT_EQ(requests(), 6) << "five, and one again";
}

TEST_P(FaultyReplyTest, ThatStaysEndsTheRunWithoutStoringAnything) {
  timeout_ = GetParam().timeout;
  all_faulty_ = true;
  MakeNotes(8);
  Serve([](int, const ServerRequest& request) { return Spoiled(request); });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("/v1/embeddings"), HasSubstr(GetParam().message)));
  EXPECT_EQ(ExpectNothingForeign(), 0);
  EXPECT_EQ(Ledger("SELECT count(*) FROM rejects"), 0);
  timeout_ = "20";
  all_faulty_ = false;
  ServeFirst({});
  const ProcessResult rest = Run();
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
}

const auto kBreak = [](ServerFault fault, size_t bytes) {
  return [fault, bytes](ServerReply* reply) {
    reply->fault = fault;
    reply->fault_bytes = bytes;
  };
};
const auto kBody = [](std::string body) {
  return [body = std::move(body)](ServerReply* reply) { reply->body = body; };
};
const auto kRaw = [](std::string raw) {
  return [raw = std::move(raw)](ServerReply* reply) {
    reply->raw = raw;
    reply->framing = Framing::kUntilClose;
  };
};

INSTANTIATE_TEST_SUITE_P(Line, FaultyReplyTest,
                         ::testing::Values(Fault{"ClosedWithoutAWord", kBreak(ServerFault::kClose, 0), "again later"},
                                           Fault{"ResetAtOnce", kBreak(ServerFault::kReset, 0), "again later"},
                                           Fault{"ResetInTheHead", kBreak(ServerFault::kReset, 10), "again later"},
                                           Fault{"ResetInTheBody", kBreak(ServerFault::kReset, 150), "again later"},
                                           Fault{"EndsInTheBody", kBreak(ServerFault::kTruncate, 50), "again later"},
                                           Fault{"HalfClosed", kBreak(ServerFault::kHalfClose, 150), "again later"},
                                           Fault{"Stalls", kBreak(ServerFault::kStall, 100), "again later", "0.2"},
                                           Fault{"NeverAnswers", kBreak(ServerFault::kStall, 0), "again later", "0.2"},
                                           Fault{"AByteAtATime",
                                                 [](ServerReply* reply) {
                                                   reply->slice_bytes = 1;
                                                   reply->slice_pause = absl::Milliseconds(20);
                                                 },
                                                 "again later", "0.2"}),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Body, FaultyReplyTest,
    ::testing::Values(
        Fault{"Page", kBody("<!DOCTYPE html><html><body>Sign in to this network</body></html>"), "not JSON"},
        Fault{"Nothing", kBody(""), "not JSON"}, Fault{"Blanks", kBody(" \r\n\r\n"), "not JSON"},
        Fault{"Binary", kBody(std::string("\xff\xfe\x00\x01", 4)), "not JSON"},
        Fault{"BrokenUtf8", kBody("{\"object\":\"\xff\xfe\",\"data\":[]}"), ""},
        Fault{"JsonCutOff", [](ServerReply* reply) { reply->body.resize(reply->body.size() / 2); }, "again later"},
        Fault{"TwoReplies", [](ServerReply* reply) { reply->body += reply->body; }, ""},
        Fault{"AnotherThing", kBody("{\"hello\":\"world\"}"), ""}, Fault{"AList", kBody("[1,2,3]"), ""},
        Fault{"ErrorInA200", kBody(R"({"error":{"message":"upstream went away","type":"server_error"}})"),
              "upstream went away"},
        Fault{"NotHttp", kRaw("220 smtp.example.org ESMTP\r\n"), ""}, Fault{"EmptyHead", kRaw("\r\n\r\n"), ""},
        Fault{"BadGatewayPage",
              [](ServerReply* reply) {
                reply->status = 502;
                reply->body = "<html>502 Bad Gateway</html>";
              },
              "HTTP 502"}),
    [](const auto& info) { return info.param.name; });

const auto kScript = [](ReplyScript script) {
  return [script](ServerReply* reply) {
    // The texts of the good reply do not matter: it is taken apart and never used.
    reply->body = OpenAiReply({"a", "b", "c", "d"}, VectorFormat::kBase64, script);
  };
};

INSTANTIATE_TEST_SUITE_P(
    Content, FaultyReplyTest,
    ::testing::Values(Fault{"TooFew", kScript({.missing = 1}), "expected 4 vectors, got 3"},
                      Fault{"None", kScript({.missing = 4}), "expected 4 vectors, got 0"},
                      Fault{"TooMany", kScript({.extra = 1}), "expected an index from 0 to 3"},
                      Fault{"IndexTwice", kScript({.same_index_row = 2}), "got index 1 twice"},
                      Fault{"StringsForNumbers",
                            kBody(R"({"data":[{"index":0,"embedding":["1","2","3","4","5","6","7","8"]},)"
                                  R"({"index":1,"embedding":["1","2","3","4","5","6","7","8"]},)"
                                  R"({"index":2,"embedding":["1","2","3","4","5","6","7","8"]},)"
                                  R"({"index":3,"embedding":["1","2","3","4","5","6","7","8"]}]})"),
                            "can be read"}),
    [](const auto& info) { return info.param.name; });

// ---- Odd, but right ----

struct Oddity {
  const char* name;
  std::function<void(ServerReply* good)> change;
  ReplyScript::Order order = ReplyScript::Order::kShuffled;
};

class OddReplyTest : public FaultTest, public ::testing::WithParamInterface<Oddity> {};

TEST_P(OddReplyTest, IsTaken) {
  MakeNotes(20);
  Serve([this](int, const ServerRequest& request) {
    ServerReply reply = Sell(request, {.order = GetParam().order});
    GetParam().change(&reply);
    return reply;
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
}

INSTANTIATE_TEST_SUITE_P(
    Replies, OddReplyTest,
    ::testing::Values(
        Oddity{"Shuffled", [](ServerReply*) {}},
        Oddity{"Chunked", [](ServerReply* reply) { reply->framing = Framing::kChunked; }},
        Oddity{"UntilClose", [](ServerReply* reply) { reply->framing = Framing::kUntilClose; }},
        Oddity{"Sliced", [](ServerReply* reply) { reply->slice_bytes = 7; }},
        Oddity{"After100Continue", [](ServerReply* reply) { reply->before = "HTTP/1.1 100 Continue\r\n\r\n"; }},
        Oddity{"AfterEarlyHints",
               [](ServerReply* reply) { reply->before = "HTTP/1.1 103 Early Hints\r\nretry-after: 1000\r\n\r\n"; }},
        Oddity{"AfterAMarkOfUtf8", [](ServerReply* reply) { reply->body.insert(0, "\xEF\xBB\xBF"); }},
        Oddity{"Base64OfUrls",
               [](ServerReply* reply) {
                 absl::StrReplaceAll({{"+", "-"}, {"/", "_"}, {"=", ""}}, &reply->body);
               }},
        Oddity{"WithoutTheIndexThatIs0",
               [](ServerReply* reply) {
                 absl::StrReplaceAll({{"\"index\":0,", ""}}, &reply->body);
               },
               ReplyScript::Order::kByIndex},
        Oddity{
            "IndexesAsFloats",
            [](ServerReply* reply) {
              absl::StrReplaceAll({{"\"index\":0", "\"index\":0.0"}, {"\"index\":2", "\"index\":2.0"}}, &reply->body);
            }},
        Oddity{"ClosedAfterwards", [](ServerReply* reply) { reply->fault = ServerFault::kCloseAfter; }}),
    [](const auto& info) { return info.param.name; });

// ---- Connections ----

using ConnectionTest = FaultTest;

TEST_F(ConnectionTest, ThoseThatAreResetOrNeverServedAreReplaced) {
  for (const ConnectionFault fault : {ConnectionFault::kReset, ConnectionFault::kDeaf}) {
    SCOPED_TRACE(static_cast<int>(fault));
    timeout_ = "0.5";
    std::filesystem::remove_all(job());
    std::filesystem::remove(db());
    MakeNotes(20);
    Serve([this](int, const ServerRequest& request) { return Sell(request); },
          [fault](int number) { return number == 1 ? fault : ConnectionFault::kNone; });
    const ProcessResult run = Run();
    EXPECT_EQ(run.exit_code, 0) << run.err;
    ExpectComplete();
  }
}

TEST_F(ConnectionTest, AServerThatIsNotThereIsATemporaryFailure) {
  MakeNotes(4);
  // The first connection is that of the probe.
  Serve([this](int, const ServerRequest& request) { return Sell(request); },
        [](int number) { return number > 0 ? ConnectionFault::kReset : ConnectionFault::kNone; });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_EQ(Summary(run, "rows_embedded"), "0");
  ServeFirst({});
  EXPECT_EQ(Run().exit_code, 0);
  ExpectComplete();
}

// The reply was on its way when the line broke: it is bought a second time, and each row gets one vector.
TEST_F(ConnectionTest, AReplyThatIsLostIsBoughtAgainAtMostOnce) {
  MakeNotes(40);
  Serve([this](int number, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    if (number == 3) {
      reply.fault = ServerFault::kReset;
      reply.fault_bytes = reply.body.size();
    }
    return reply;
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(2);
  EXPECT_EQ(requests(), 11);
}

// ---- Vectors ----

using VectorTest = FaultTest;

TEST_F(VectorTest, AnotherWidthStopsTheRunWithBothWidthsNamed) {
  MakeNotes(80);
  Serve([this](int number, const ServerRequest& request) {
    return number < 5 ? Sell(request) : OpenAiAnswer(request, {.dim = 12});
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("8 numbers"), HasSubstr("got 12"), HasSubstr("check the model")));
  EXPECT_EQ(ExpectNothingForeign(), 20);
  ServeFirst({});
  EXPECT_EQ(Run().exit_code, 0);
  ExpectComplete();
  ExpectSoldAtMost(1);
}

// {"data":[...]} whose vectors are those of the texts, except one.
ServerReply WithVector(const ServerRequest& request, const std::string& bad_text, const std::string& bad_vector) {
  std::vector<std::string> items;
  for (const std::string& text : TextsOf(request.body)) {
    const auto number = [](std::string* out, float x) { absl::StrAppend(out, absl::StrFormat("%.9g", x)); };
    const std::string vector = absl::StrCat("[", absl::StrJoin(TextVector(text, 8), ",", number), "]");
    items.push_back(
        absl::StrCat("{\"index\":", items.size(), ",\"embedding\":", text == bad_text ? bad_vector : vector, "}"));
  }
  return {.body = absl::StrCat("{\"data\":[", absl::StrJoin(items, ","), "]}")};
}

TEST_F(VectorTest, OneThatIsNotANumberIsRejectedAlone) {
  struct {
    const char* name;
    const char* vector;
    const char* reason;
  } const cases[] = {
      {"null for NaN", "[1,null,3,4,5,6,7,8]", "NaN or infinity"},
      {"above float", "[1,1e308,3,4,5,6,7,8]", "NaN or infinity"},
      {"above double", "[1,2,3,4,5,6,7,-1e999]", "NaN or infinity"},
      {"zeros", "[0,0,0,0,0,0,0,0]", "zeros only"},
      {"minus zeros", "[-0.0,0,0,0,0,0,0,0]", "zeros only"},
      {"zeros by rounding", "[1e-400,0,0,0,0,0,0,0]", "zeros only"},
      {"NaN in base64", "\"AADAfwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8=\"", "NaN or infinity"},
      {"infinity in base64", "\"AACAPwAAgH8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8=\"", "NaN or infinity"},
  };
  MakeNotes(20);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove_all(job());
    Change(db(), "UPDATE notes SET embedding = NULL");
    Serve([&](int, const ServerRequest& request) { return WithVector(request, NoteText(7), c.vector); });
    const ProcessResult run = Run();
    EXPECT_EQ(run.exit_code, 3) << run.err;
    ExpectComplete({7});
    EXPECT_THAT(RejectReason(7), HasSubstr(c.reason));
    EXPECT_EQ(requests(), 5 + 2) << "it is asked for alone twice";
  }
}

// The smallest numbers there are: odd, but a direction.
TEST_F(VectorTest, OneOfDenormalNumbersIsAVector) {
  MakeNotes(4);
  Serve([&](int, const ServerRequest& request) {
    return WithVector(request, NoteText(2), "[1e-40,-1e-40,1e-40,1e-45,0,0,0,0]");
  });
  const ProcessResult run = Run({"--normalize", "unit"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const std::vector<std::string> first = Query(db(), "SELECT hex(substr(embedding, 1, 4)) FROM notes WHERE id = 2");
  EXPECT_THAT(first, ::testing::ElementsAre(::testing::Not(HasSubstr("00000000"))));
}

// ---- One of many ----

// A text for which there never is a vector costs itself, and what the others brought is paid for once.
TEST_F(VectorTest, OneWithoutAVectorIsAskedForAloneAndRejectedAlone) {
  batch_size_ = 16;
  MakeNotes(64);
  for (const char* odd : {"null", "[]", "[1,2,3]", "\"\""}) {
    SCOPED_TRACE(odd);
    std::filesystem::remove_all(job());
    Change(db(), "UPDATE notes SET embedding = NULL");
    Serve([&](int, const ServerRequest& request) { return WithVector(request, NoteText(21), odd); });
    const ProcessResult run = Run();
    EXPECT_EQ(run.exit_code, 3) << run.err;
    ExpectComplete({21});
    EXPECT_THAT(RejectReason(21), HasSubstr("asked 3 times"));
    EXPECT_EQ(requests(), 4 + 2);
    for (size_t i = 4; i < asked().size(); ++i) EXPECT_LE(asked()[i].size(), 16u);
  }
}

// Replies that stay unreadable for the sake of one text: its batch is halved, it is set aside, thousands go on.
TEST_F(VectorTest, RepliesThatStayUnreadableForOneTextDoNotEndTheRun) {
  batch_size_ = 16;
  MakeNotes(160);
  Serve([this](int, const ServerRequest& request) {
    if (absl::StrContains(request.body, NoteText(77) + "\"")) return ServerReply{.body = "{\"data\":[{\"index\""};
    return Sell(request);
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 3) << run.err;
  ExpectComplete({77});
  ExpectSoldAtMost(1);
  EXPECT_LE(requests(), 10 + 1 + 2 * 4 + 1);
  // Taken back, it is embedded when the API is well again.
  ServeFirst({});
  const ProcessResult taken_back =
      RunProcess({REEMBED_BINARY, "retry-rejects", job(), "--api-base", server_->url() + "/v1"},
                 {{"HOME", folder_.path()}, {"OPENAI_API_KEY", key_}});
  EXPECT_EQ(taken_back.exit_code, 0) << taken_back.err;
  ExpectComplete();
}

// Without an index nobody knows whose a vector is, unless there is but one.
TEST_F(VectorTest, RepliesWithoutIndexesAreTakenOneTextAtATime) {
  MakeNotes(8);
  Serve([this](int, const ServerRequest& request) {
    ServerReply reply = Sell(request, {.order = ReplyScript::Order::kShuffled});
    absl::StrReplaceAll({{"\"index\"", "\"place\""}}, &reply.body);
    return reply;
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
}

// ---- Before the first row ----

using ProbeTest = FaultTest;

// The first reply goes through the same rules as every other.
TEST_F(ProbeTest, AReplyOfNoUseIsAskedForAgain) {
  MakeNotes(4);
  for (const ServerReply& bad :
       {ServerReply{.body = "{\"data\":[{\"index\":0,"}, ServerReply{.body = "{\"data\":[]}"},
        ServerReply{.body = OpenAiReply({"x"}, VectorFormat::kFloat, {.dim = 5})},
        ServerReply{.body = OpenAiReply({"x"}, VectorFormat::kFloat, {.dim = kDim, .zero_row = 0})}}) {
    SCOPED_TRACE(bad.body);
    std::filesystem::remove_all(job());
    Change(db(), "UPDATE notes SET embedding = NULL");
    std::atomic<int> number = 0;
    server_ = std::make_unique<ScriptedServer>(
        [&](const ServerRequest& request) { return number++ == 0 ? bad : OpenAiAnswer(request, {.dim = kDim}); });
    const ProcessResult run = Run();
    EXPECT_EQ(run.exit_code, 0) << run.err;
    ExpectComplete();
  }
  std::filesystem::remove_all(job());
  Change(db(), "UPDATE notes SET embedding = NULL");
  server_ = std::make_unique<ScriptedServer>([](const ServerRequest&) { return ServerReply{.body = "{\"data\":["}; });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_THAT(run.err, HasSubstr("asked 3 times"));
}

// ---- Texts ----

using TextTest = FaultTest;

// What cannot be sent is not, what can be is sent as it is, and no row stands in the way of another.
TEST_F(TextTest, RowsWithOddTextsAreRejectedOrEmbeddedEachAlone) {
  MakeNotes(10);
  Change(
      db(),
      "INSERT INTO notes(id, body) VALUES (101, NULL), (102, ''), (103, CAST(x'6e6f746520ff41' AS TEXT)), "
      "(104, 'note ' || CAST(zeroblob(100000000) AS TEXT)), (105, 'note  '), (106, CAST(x'6e6f7465200041' AS TEXT)), "
      "(107, 'note \"quoted\"\\ and ' || char(10, 9, 127, 128512)), (108, 'note number 1 of somebody')");
  Serve([this](int, const ServerRequest& request) {
    if (absl::StrContains(request.body, "\"note  \"")) return OpenAiError(400, "", "", "'$.input' is invalid.");
    return Sell(request);
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 3) << run.err;
  for (const auto& [id, reason] : std::vector<std::pair<int, const char*>>{{101, "NULL"},
                                                                           {102, "empty"},
                                                                           {103, "not valid UTF-8"},
                                                                           {104, "the text has"},
                                                                           {105, "HTTP 400: '$.input' is invalid"}}) {
    EXPECT_THAT(RejectReason(id), HasSubstr(reason)) << id;
  }
  EXPECT_THAT(Query(db(), "SELECT id FROM notes WHERE embedding IS NULL ORDER BY id"),
              ::testing::ElementsAre("101", "102", "103", "104", "105"));
  const auto vector_of = [this](int id) {
    return Query(db(), absl::StrCat("SELECT hex(embedding) FROM notes WHERE id = ", id));
  };
  EXPECT_EQ(vector_of(108), vector_of(1)) << "the same text";
  EXPECT_EQ(vector_of(106), std::vector<std::string>({HexOf(TextVector(std::string("note \0A", 7), kDim))}));
  EXPECT_EQ(vector_of(107),
            std::vector<std::string>({HexOf(TextVector("note \"quoted\"\\ and \n\t\x7f\xf0\x9f\x98\x80", kDim))}));
  ExpectSoldAtMost(1);
}

}  // namespace
}  // namespace reembed
