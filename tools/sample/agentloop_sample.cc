// SPDX-License-Identifier: Apache-2.0
#include "tools/sample/agentloop_sample.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_db.h"
#include "tools/sample/agentloop_phrases.h"

namespace reembed {
namespace {

constexpr absl::string_view kNames[] = {"Maria", "Jonas", "Aisha", "Tom",  "Ines",  "Pavel",
                                        "Wei",   "Nora",  "Sam",   "Lena", "Diego", "Yuki"};
constexpr absl::string_view kDays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
constexpr absl::string_view kOpeners[] = {
    "", "Hi, ", "Quick question: ", "Back to this. ", "One more thing: ", "Hey! "};
constexpr absl::string_view kSystemText =
    "You are a helpful assistant with a long memory. Use what you know about the user.";
constexpr absl::string_view kThanks = "Thanks, that helps a lot!";

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int Below(int limit) { return static_cast<int>(Next() % static_cast<uint64_t>(limit)); }
  template <typename List>
  const auto& Pick(const List& list) {
    return *(std::begin(list) + Below(static_cast<int>(std::end(list) - std::begin(list))));
  }

 private:
  uint64_t state_;
};

void AppendPhrase(absl::string_view phrase, absl::string_view subject, Random* random, std::string* text) {
  const size_t begin = text->size();
  for (size_t i = 0; i < phrase.size(); ++i) {
    if (phrase[i] != '$' || i + 1 == phrase.size()) {
      text->push_back(phrase[i]);
      continue;
    }
    switch (phrase[++i]) {
      case 's':
        absl::StrAppend(text, subject);
        break;
      case 'n':
        absl::StrAppend(text, 2 + random->Below(58));
        break;
      case 'd':
        absl::StrAppend(text, random->Pick(kDays));
        break;
      default:
        absl::StrAppend(text, random->Pick(kNames));
    }
  }
  if (begin < text->size()) (*text)[begin] = absl::ascii_toupper(static_cast<unsigned char>((*text)[begin]));
}

struct Message {
  absl::string_view role;
  std::string content;
  bool has_content = true;
};

class Conversations {
 public:
  explicit Conversations(const AgentloopSampleOptions& options) : options_(options), random_(options.seed) {}

  // A new session: another user, another topic.
  void Begin() {
    topic_ = &random_.Pick(SampleTopics());
    subject_ = random_.Pick(topic_->subjects);
    left_ = 6 + random_.Below(19);
    turn_ = 0;
    session_id_ = absl::StrFormat("%08x-%04x-4%03x-a%03x-%012x", random_.Next() >> 32, random_.Next() >> 48,
                                  random_.Next() >> 52, random_.Next() >> 52, random_.Next() >> 16);
    user_id_ = absl::StrFormat("user_%03d", random_.Below(40));
  }

  bool ended() const { return left_ == 0; }
  absl::string_view topic() const { return topic_->name; }
  const std::string& session_id() const { return session_id_; }
  const std::string& user_id() const { return user_id_; }
  int chunk_index() const { return (turn_ - 1) / 2; }
  int SecondsToNext() { return 5 + random_.Below(90); }

  void Next(int64_t row, Message* message) {
    --left_;
    const int turn = turn_++;
    message->has_content = true;
    message->content.clear();
    if (turn == 0 && random_.Below(3) == 0) {
      message->role = "system";
      message->content = std::string(kSystemText);
      return;
    }
    if (random_.Below(20) == 0) {
      message->role = "tool";
      message->content = absl::StrFormat("{\"results\": %d, \"query\": \"%s\"}", random_.Below(9), subject_);
      return;
    }
    const bool asks = turn % 2 == 0;
    message->role = asks ? "user" : "assistant";
    Write(asks, &message->content);
    if (options_.odd_rows == AgentloopSampleOptions::OddRows::kSome) MakeOdd(row, message);
  }

 private:
  void Write(bool asks, std::string* text) {
    // Uniform around the average, so from half of it to one and a half.
    const int average = options_.text_bytes > 0 ? options_.text_bytes : asks ? 80 : 200;
    const int64_t wanted = average / 2 + random_.Below(average + 1);
    if (asks) {
      absl::StrAppend(text, random_.Pick(kOpeners));
      AppendPhrase(random_.Pick(topic_->questions), subject_, &random_, text);
    } else {
      AppendPhrase(random_.Pick(topic_->answers), subject_, &random_, text);
    }
    while (static_cast<int64_t>(text->size()) + 20 < wanted) {
      text->push_back(' ');
      const int kind = random_.Below(3);
      AppendPhrase(kind == 0 ? random_.Pick(topic_->answers) : random_.Pick(topic_->details), subject_, &random_, text);
    }
    if (random_.Below(12) == 0) subject_ = random_.Pick(topic_->subjects);
  }

  // By row number, so that small samples have each kind too.
  static void MakeOdd(int64_t row, Message* message) {
    switch (row % 97) {
      case 13:
        message->has_content = false;
        return;
      case 29:
        message->content.clear();
        return;
      case 41:
      case 77:
        message->content = std::string(kThanks);
        return;
      case 53:
      case 61:
        message->content = std::string(SampleUnicodeTexts()[(row / 97) % SampleUnicodeTexts().size()]);
        return;
      case 71: {
        // 60 KB is about 15,000 model tokens; 8,191 is the limit of the system's model.
        if (row / 97 % 8 != 0) return;
        const std::string once = absl::StrCat(message->content, " ");
        while (message->content.size() < 60000) message->content.append(once);
        return;
      }
      default:
        return;
    }
  }

  const AgentloopSampleOptions& options_;
  Random random_;
  const SampleTopic* topic_ = nullptr;
  absl::string_view subject_;
  std::string session_id_, user_id_;
  int left_ = 0;
  int turn_ = 0;
};

absl::Status MakeTables(const SqliteDb& db, AgentloopSampleOptions::Schema schema) {
  const absl::string_view vectors =
      schema == AgentloopSampleOptions::Schema::kCurrent ? ", embedding BLOB, embedding_model TEXT" : "";
  const std::string statements[] = {
      // Nobody else sees the file before it is renamed, and a torn one is thrown away.
      "PRAGMA journal_mode = OFF",
      "PRAGMA synchronous = OFF",
      "PRAGMA cache_size = -131072",
      "BEGIN",
      absl::StrCat("CREATE TABLE sessions (session_id TEXT PRIMARY KEY, user_id TEXT, "
                   "created_at DATETIME DEFAULT CURRENT_TIMESTAMP, last_active DATETIME)"),
      absl::StrCat("CREATE TABLE messages (message_id INTEGER PRIMARY KEY, session_id TEXT, chunk_index INTEGER, "
                   "role TEXT, content TEXT, tokens INTEGER, timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, "
                   "metadata TEXT",
                   vectors, ", FOREIGN KEY (session_id) REFERENCES sessions (session_id))"),
      "CREATE VIRTUAL TABLE messages_fts USING fts5(content, session_id, metadata, role)",
      "CREATE INDEX idx_session_chunk ON messages (session_id, chunk_index)",
      "CREATE INDEX idx_timestamp ON messages (timestamp)",
  };
  for (const std::string& sql : statements) {
    ABSL_RETURN_IF_ERROR(db.Exec(sql));
  }
  return absl::OkStatus();
}

struct Inserts {
  SqliteStatement session, message, full_text;
};

absl::StatusOr<Inserts> PrepareInserts(const SqliteDb& db) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement session, db.Prepare("INSERT INTO sessions VALUES (?1, ?2, ?3, ?3)"));
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement message,
      db.Prepare(
          "INSERT INTO messages (message_id, session_id, chunk_index, role, content, tokens, timestamp, metadata) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement full_text,
      db.Prepare("INSERT INTO messages_fts (rowid, content, session_id, metadata, role) VALUES (?1, ?5, ?2, ?8, ?4)"));
  return Inserts{std::move(session), std::move(message), std::move(full_text)};
}

absl::Status Fill(const AgentloopSampleOptions& options, Inserts* inserts) {
  Conversations conversations(options);
  Message message;
  absl::Time now = absl::FromCivil(absl::CivilSecond(2024, 3, 1, 8, 0, 0), absl::UTCTimeZone());
  for (int64_t row = 1; row <= options.rows; ++row) {
    now += absl::Seconds(row == 1 ? 0 : conversations.SecondsToNext());
    const std::string time = absl::FormatTime("%Y-%m-%d %H:%M:%S", now, absl::UTCTimeZone());
    if (conversations.ended()) {
      conversations.Begin();
      inserts->session.BindText(1, conversations.session_id());
      inserts->session.BindText(2, conversations.user_id());
      inserts->session.BindText(3, time);
      ABSL_RETURN_IF_ERROR(inserts->session.Run());
    }
    conversations.Next(row, &message);
    const std::string metadata = absl::StrFormat("{'topic': '%s', 'client': 'cli', 'turn': %d}", conversations.topic(),
                                                 conversations.chunk_index());
    for (SqliteStatement* insert : {&inserts->message, &inserts->full_text}) {
      insert->Bind(1, row);
      insert->BindText(2, conversations.session_id());
      insert->BindText(4, message.role);
      if (message.has_content) {
        insert->BindText(5, message.content);
      } else {
        insert->BindNull(5);
      }
      insert->BindText(8, metadata);
      if (insert == &inserts->message) {
        insert->Bind(3, conversations.chunk_index());
        insert->Bind(6, static_cast<int64_t>(message.content.size() / 4));
        insert->BindText(7, time);
      }
      ABSL_RETURN_IF_ERROR(insert->Run());
    }
  }
  return absl::OkStatus();
}

absl::Status MakeDatabase(const std::string& path, const AgentloopSampleOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> db, SqliteDb::Open(path, SqliteAccess::kCreate));
  ABSL_RETURN_IF_ERROR(MakeTables(*db, options.schema));
  ABSL_ASSIGN_OR_RETURN(Inserts inserts, PrepareInserts(*db));
  ABSL_RETURN_IF_ERROR(Fill(options, &inserts));
  return db->Exec("COMMIT");
}

}  // namespace

absl::Status MakeAgentloopSample(const std::string& path, const AgentloopSampleOptions& options) {
  const std::string partial = absl::StrCat(path, ".partial");
  std::error_code error;
  for (const std::string& file : {path, partial}) {
    if (std::filesystem::exists(std::filesystem::symlink_status(file, error))) {
      return absl::AlreadyExistsError(absl::StrCat(file, ": is there already; remove it or name another file"));
    }
  }
  absl::Status status = MakeDatabase(partial, options);
  if (status.ok()) {
    std::filesystem::rename(partial, path, error);
    if (error) status = absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
  }
  if (!status.ok()) std::filesystem::remove(partial, error);
  return status;
}

}  // namespace reembed
