// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_NETS_HPP
#define NSJOIN_BENCHMARKS_NETS_HPP

#include <vector>

namespace bench {

/// Descriptors of network namespaces, in the caller that prepare_sweep() ran in.
inline std::vector<int> nets; // NOLINT(*-non-const-global*): jobs are plain functions
inline int home_net = -1;     // NOLINT(*-non-const-global*)

} // namespace bench

#endif // NSJOIN_BENCHMARKS_NETS_HPP
