// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NSJOIN_HPP
#define NSJOIN_NSJOIN_HPP

// What a program that joins and creates by itself needs, in one include. Who embeds the constructor
// includes constructor.hpp; who starts such a program, supervisor.hpp; who only reads or writes
// bootstraps, bootstrap.hpp; who looks at processes, ids and namespaces of others,
// process_info.hpp, subordinate_ids.hpp, all_namespaces.hpp; who shows a terminal, relay.hpp.

#include <nsjoin/command.hpp>
#include <nsjoin/console.hpp>
#include <nsjoin/create_namespaces.hpp>
#include <nsjoin/credentials.hpp>
#include <nsjoin/duration.hpp>
#include <nsjoin/error.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/id_map.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/join_here.hpp>
#include <nsjoin/kind.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/namespace_set.hpp>
#include <nsjoin/open_side.hpp>
#include <nsjoin/order.hpp>
#include <nsjoin/pid_fd.hpp>
#include <nsjoin/pipe.hpp>
#include <nsjoin/plan.hpp>
#include <nsjoin/pty.hpp>
#include <nsjoin/spawn.hpp>
#include <nsjoin/version.hpp>

#endif // NSJOIN_NSJOIN_HPP
