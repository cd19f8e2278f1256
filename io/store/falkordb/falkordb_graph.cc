// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_graph.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr char kSyncMilliseconds[] = "10000";  // appendfsync=everysec takes one or two seconds

constexpr char kExpected[] = "falkordb://[user@]host[:port]/graph?label=LABEL&key=PROPERTY";

bool IsNumber(absl::string_view text, float* out) {
  // Through double: what lies below the smallest float must not be an error.
  double number;
  if (!absl::SimpleAtod(text, &number)) return false;
  *out = static_cast<float>(number);
  return true;
}

// What the key space says. The list of graphs forgets one that was made under the name of another which was deleted
// while somebody still read it.
bool IsGraph(RespClient* client, const std::string& name) {
  const absl::StatusOr<RespReply> type = client->Call({"TYPE", name});
  return type.ok() && type->value().Text() == "graphdata";
}

}  // namespace

absl::StatusOr<FalkorLocation> ParseFalkorLocation(const Location& location, const FalkorOptions& options) {
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(location.scheme, ":", location.path, ": ", what));
  };
  absl::string_view rest = location.path;
  if (location.scheme != "falkordb" || !absl::ConsumePrefix(&rest, "//"))
    return error(absl::StrCat("expected ", kExpected));
  ABSL_RETURN_IF_ERROR(
      location.CheckParameters({"label", "key", "text", "vector", "model_property", "where", "index"}));
  const size_t slash = rest.find('/');
  if (slash == absl::string_view::npos || slash + 1 == rest.size()) {
    return error(absl::StrCat("no graph; expected ", kExpected));
  }
  FalkorLocation asked{.graph = std::string(rest.substr(slash + 1)),
                       .label = location.Get("label"),
                       .key = location.Get("key"),
                       .text = location.Get("text"),
                       .vector = location.Get("vector"),
                       .model_property = location.Get("model_property"),
                       .where = location.Get("where"),
                       .index = location.Get("index")};
  absl::string_view authority = rest.substr(0, slash);
  asked.address = {.name = absl::StrCat("falkordb://", authority),
                   .password = options.password,
                   .password_variable = "FALKORDB_PASSWORD",
                   .answered = location.answered};
  if (const size_t at = authority.rfind('@'); at != absl::string_view::npos) {
    asked.address.user = std::string(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  if (const size_t colon = authority.rfind(':'); colon != absl::string_view::npos && !absl::EndsWith(authority, "]")) {
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &asked.address.port) || asked.address.port <= 0 ||
        asked.address.port > 65535) {
      return error("expected a port from 1 to 65535");
    }
    authority = authority.substr(0, colon);
  }
  if (absl::ConsumePrefix(&authority, "[")) absl::ConsumeSuffix(&authority, "]");
  asked.address.host = authority.empty() ? "localhost" : std::string(authority);
  for (const auto& [parameter, value] : {std::pair("label", asked.label), std::pair("key", asked.key)}) {
    if (value.empty()) return error(absl::StrCat("no ", parameter, "; add &", parameter, "=NAME"));
  }
  for (const std::string& name : {asked.label, asked.key, asked.text, asked.vector, asked.model_property}) {
    if (absl::StrContains(name, '`') || absl::StrContains(name, '\0')) {
      return error("a name with a backtick cannot be written in Cypher");
    }
  }
  if (!asked.index.empty() && asked.index != "none" && asked.index != "cosine" && asked.index != "euclidean") {
    return error(absl::StrCat("index=", asked.index, ": expected none, cosine, euclidean"));
  }
  if (asked.index == "none") asked.index.clear();
  return asked;
}

int64_t FalkorCell::Vector(absl::Span<float> out) const {
  if (type() != Type::kVector && type() != Type::kArray) return -1;
  for (size_t i = 0; i < value_.size(); ++i) {
    float number;
    // Servers before 4.0.4 show a vector as an array of [type, text].
    const RespValue element = type() == Type::kVector ? value_[i] : value_[i].size() == 2 ? value_[i][1] : value_[i];
    if (element.IsInteger()) {
      number = static_cast<float>(element.Integer());
    } else if (!IsNumber(element.Text(), &number)) {
      return -1;
    }
    if (i < out.size()) out[i] = number;
  }
  return static_cast<int64_t>(value_.size());
}

absl::StatusOr<std::unique_ptr<FalkorGraph>> FalkorGraph::Open(const FalkorLocation& asked, absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(auto client, RespClient::Connect(asked.address, patience));
  const absl::StatusOr<RespReply> graphs = client->Call({"GRAPH.LIST"});
  if (!graphs.ok()) {
    if (!absl::StrContains(graphs.status().message(), "unknown command")) return graphs.status();
    return absl::FailedPreconditionError(
        absl::StrCat(asked.address.name,
                     ": this server is not FalkorDB (it does not know GRAPH.LIST); start it with "
                     "the module falkordb.so, or name another port"));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < graphs->value().size(); ++i) names.emplace_back(graphs->value()[i].Text());
  if (std::find(names.begin(), names.end(), asked.graph) == names.end() && !IsGraph(client.get(), asked.graph)) {
    const std::string near = NearestName(asked.graph, names);
    return absl::NotFoundError(absl::StrCat(
        asked.address.name, ": no graph `", asked.graph, "`",
        near.empty() ? absl::StrCat("; the server has ", names.size()) : absl::StrCat("; did you mean `", near, "`?")));
  }
  return std::unique_ptr<FalkorGraph>(new FalkorGraph(std::move(client), asked.graph));
}

absl::StatusOr<std::unique_ptr<FalkorGraph>> FalkorGraph::OpenNew(const FalkorLocation& asked,
                                                                  absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(auto client, RespClient::Connect(asked.address, patience));
  return std::unique_ptr<FalkorGraph>(new FalkorGraph(std::move(client), asked.graph));
}

std::string FalkorGraph::Message(absl::string_view what) const {
  return absl::StrCat(client_->name(), "/", name_, ": ", what);
}

absl::StatusOr<FalkorRows> FalkorGraph::Query(absl::string_view cypher, Access access) {
  absl::StatusOr<RespReply> reply =
      client_->Call({access == Access::kRead ? "GRAPH.RO_QUERY" : "GRAPH.QUERY", name_, cypher, "--compact"});
  if (!reply.ok()) {
    if (absl::StrContains(reply.status().message(), "Invalid graph operation on empty key")) {
      return absl::NotFoundError(Message("the graph is gone"));
    }
    return reply.status();
  }
  // An error while the query runs may come as the last element of an answer that began well.
  const RespValue value = reply->value();
  if (value.size() > 0 && value[value.size() - 1].IsError()) {
    return client_->ErrorOf(value[value.size() - 1].Text());
  }
  if (!value.IsArray() || (value.size() != 1 && value.size() != 3)) {
    return absl::FailedPreconditionError(
        Message(absl::StrCat("expected an answer of 1 or 3 parts, got ", value.size(), "; is this FalkorDB?")));
  }
  return FalkorRows(*std::move(reply));
}

absl::StatusOr<bool> FalkorGraph::Sync() {
  bool synced = false;
  ABSL_RETURN_IF_ERROR(client_->Persist([&]() -> absl::Status {
    const absl::StatusOr<RespReply> reply = client_->Call({"WAITAOF", "1", "0", kSyncMilliseconds});
    if (absl::IsUnavailable(reply.status())) return reply.status();
    synced = reply.ok() && reply->value().size() == 2 && reply->value()[0].Integer() >= 1;
    return absl::OkStatus();
  }));
  return synced;
}

absl::StatusOr<std::string> FalkorGraph::ServerRun() {
  constexpr absl::string_view kName = "run_id:";
  std::string run;
  ABSL_RETURN_IF_ERROR(client_->Persist([&]() -> absl::Status {
    const absl::StatusOr<RespReply> info = client_->Call({"INFO", "server"});
    if (absl::IsUnavailable(info.status())) return info.status();
    const absl::string_view text = info.ok() ? info->value().Text() : absl::string_view();
    const size_t at = text.find(kName);
    run = at == absl::string_view::npos ? absl::StrCat("connection ", client_->connections())
                                        : std::string(text.substr(at, text.find_first_of("\r\n", at) - at));
    return absl::OkStatus();
  }));
  return run;
}

absl::StatusOr<int64_t> FalkorGraph::Count(absl::string_view cypher) {
  ABSL_ASSIGN_OR_RETURN(const FalkorRows rows, Query(cypher));
  if (rows.size() != 1 || (rows)(0, 0).type() != FalkorCell::Type::kInteger) {
    return absl::DataLossError(
        Message("expected one number, got none; the server cuts answers, set RESULTSET_SIZE to -1 there"));
  }
  return (rows)(0, 0).Integer();
}

std::string FalkorName(absl::string_view name) { return absl::StrCat("`", name, "`"); }

void AppendFalkorText(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out->push_back('\\');
    out->push_back(c);
  }
  out->push_back('"');
}

void AppendFalkorKey(KeyView key, std::string* out) {
  if (const int64_t* number = std::get_if<int64_t>(&key)) {
    absl::StrAppend(out, *number);
  } else {
    AppendFalkorText(std::get<absl::string_view>(key), out);
  }
}

}  // namespace reembed
