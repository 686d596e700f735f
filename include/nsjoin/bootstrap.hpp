// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_HPP
#define NSJOIN_BOOTSTRAP_HPP

#include <nsjoin/bootstrap/decode.hpp>
#include <nsjoin/bootstrap/dialect.hpp>
#include <nsjoin/bootstrap/encode.hpp>
#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/bootstrap/plan.hpp>

// A plan that comes over a wire: the dialects of runc, read, written, and made a Plan.

#endif // NSJOIN_BOOTSTRAP_HPP
