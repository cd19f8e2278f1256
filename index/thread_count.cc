// SPDX-License-Identifier: Apache-2.0
#include "index/thread_count.h"

#include <omp.h>

#include <algorithm>

// Of OpenBLAS; another BLAS does not have them.
extern "C" __attribute__((weak)) void openblas_set_num_threads(int threads);
extern "C" __attribute__((weak)) int openblas_get_num_threads(void);

namespace reembed {
namespace {

bool HasOpenBlas() { return openblas_set_num_threads != nullptr && openblas_get_num_threads != nullptr; }

}  // namespace

int ThreadCount(int asked) { return asked > 0 ? asked : std::max(omp_get_num_procs(), 1); }

void SetLibraryThreads(int threads) {
  omp_set_num_threads(threads);
  // Never more than it made at the start, where address space may have been short.
  if (HasOpenBlas() && openblas_get_num_threads() > threads) openblas_set_num_threads(threads);
}

OneBlasThread::OneBlasThread() : before_(HasOpenBlas() ? openblas_get_num_threads() : 0) {
  if (before_ > 1) openblas_set_num_threads(1);
}

OneBlasThread::~OneBlasThread() {
  if (before_ > 1) openblas_set_num_threads(before_);
}

}  // namespace reembed
