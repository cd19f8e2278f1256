// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_KILL_POINT_H_
#define REEMBED_ENGINE_KILL_POINT_H_

namespace reembed {

// A place between two durable steps, where a kill must cost nothing but time. Does nothing in the library; the crash
// test links a command whose KillPoint() ends the process at the pass it is told (tests/crash/armed). Called once or
// twice for each durable step, never for each row. `name`: a literal, unique among all kill points. Any thread.
void KillPoint(const char* name);

}  // namespace reembed

#endif  // REEMBED_ENGINE_KILL_POINT_H_
