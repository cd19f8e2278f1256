// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_BENCH_END_TO_END_PACING_H_
#define REEMBED_BENCH_END_TO_END_PACING_H_

namespace reembed {

// How well a run paces itself, over the whole pipeline without sinks, against an embedding server in this process
// whose quota and speed are known. Each prints its figure beside the limit. `seconds`: length of each measurement.

// Share of a quota that is used when it is given by flags, or learned from the reply headers alone. The server has a
// bucket that flows full evenly and holds the quota of a second (of ten seconds for the smallest quota).
void PrintQuotaUse(double seconds);
void PrintLearnedQuotaUse(double seconds);

// Rows per second against concurrency x batch / mean latency, at 200 ms +- 100 ms and 64 requests at a time.
void PrintLatencyHiding(double seconds);

// A server with so many places and a line before them: throughput, and requests that were found to be enough.
void PrintKnee(double seconds);

// Ten seconds (or `seconds`, if less) without an answer: the time from the end of the outage until the rate is 95 % of
// the former one.
void PrintOutage(double seconds);

// One reply of a hundred takes twenty times as long: the time of a small job with and without hedging.
void PrintHedging();

}  // namespace reembed

#endif  // REEMBED_BENCH_END_TO_END_PACING_H_
