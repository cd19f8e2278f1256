// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_kind.h"

#include <utility>

#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_kind.h"
#include "io/store/qdrant/qdrant_kind.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "io/system/automem_backup.h"
#include "io/system/automem_payload.h"
#include "io/system/automem_placeholder.h"
#include "io/system/automem_record.h"
#include "io/system/automem_rows.h"

namespace reembed {
namespace {

// That of the graph, which is what the address names.
constexpr const char* kPasswordVariables[] = {"FALKORDB_PASSWORD"};
constexpr const StoreKind* kParts[] = {&kFalkorKind, &kQdrantKind};

absl::StatusOr<std::unique_ptr<VectorSink>> MakePointsSink(const Location& target, const Model& model,
                                                           const Location& source) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<QdrantPayloads> payloads, OpenAutomemPayloads(source, AutomemLoginOf(source)));
  return MakeQdrantSink(target, model, /*same_as_source=*/false, QdrantLogin(target), std::move(payloads));
}

}  // namespace

constinit const StoreKind kAutomemKind = {
    .name = "automem",
    .example = "automem://HOST/GRAPH?points=qdrant:http://HOST:6333/COLLECTION",
    .title = "AutoMem",
    .secret_variables = kPasswordVariables,
    .parts = kParts,
    .join_secrets = [](absl::Span<const std::string> secrets) { return AutomemSecret(secrets[0], secrets[1]); },
    .open_source = [](const Location& l,
                      const Selection& rows) { return OpenAutomemSource(l, rows, AutomemLoginOf(l)); },
    .survey = [](const Location& l, const Selection& rows) { return SurveyAutomem(l, rows, AutomemLoginOf(l)); },
    .vectors_parameter = "points",
    .holds_vectors = HoldsAutomemPoints,
    .make_own_sink = MakePointsSink,
    .is_placeholder = IsAutomemPlaceholder,
    .save_record = [](const Location& l,
                      const RunRecord& record) { return SaveAutomemRecord(l, record, AutomemLoginOf(l)); },
    .backup = {.find_others = FindAutomemBackup},
};

}  // namespace reembed
