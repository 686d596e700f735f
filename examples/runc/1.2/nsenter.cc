// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/constructor.hpp>

NSJOIN_CONSTRUCTOR(.dialect = nsjoin::Dialect::runc_1_2);
