// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_THREAD_COUNT_H_
#define REEMBED_INDEX_THREAD_COUNT_H_

// How many threads the libraries below take: OpenMP keeps the number for each thread that asks, OpenBLAS one for all.
namespace reembed {

// `asked`, or one for each core that this process may use if it is 0.
int ThreadCount(int asked);

// Gives FAISS's loops and the matrix products under them, as called by this thread, so many threads.
void SetLibraryThreads(int threads);

// While it lives, matrix products take no threads of their own: the callers are as many as there are cores. Where the
// BLAS is not OpenBLAS it does nothing.
class OneBlasThread {
 public:
  OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;
  ~OneBlasThread();

 private:
  const int before_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_THREAD_COUNT_H_
