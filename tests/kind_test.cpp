// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/kind.hpp>

#include "support.hpp"

#include <array>
#include <sched.h>
#include <string>
#include <string_view>
#include <vector>

using nsjoin::Kind;
using nsjoin::KindSet;

namespace {

constexpr KindSet some = Kind::net | Kind::user;
static_assert(some.size() == 2 && some.contains(Kind::net) && !some.contains(Kind::pid));
static_assert(some.clone_flags() == (CLONE_NEWNET | CLONE_NEWUSER));
static_assert(KindSet::from_clone_flags(CLONE_NEWNET | CLONE_NEWUSER | CLONE_FS) == some);
static_assert(KindSet::from_bits(some.bits()) == some);
static_assert((some - Kind::net) == KindSet{Kind::user});
static_assert((some & (Kind::net | Kind::pid)) == KindSet{Kind::net});
static_assert(some.intersects(Kind::net | Kind::pid) && !some.intersects(Kind::pid));
static_assert(KindSet{}.empty() && KindSet{}.size() == 0 && some.contains(KindSet{}));
static_assert(KindSet{nsjoin::all_kinds}.size() == nsjoin::kind_count);
static_assert(KindSet{nsjoin::kinds<Kind::user, Kind::net>} == some);
static_assert(nsjoin::KernelVersion{5, 8} < nsjoin::KernelVersion{5, 10});
static_assert(!(nsjoin::KernelVersion{6, 1} < nsjoin::KernelVersion{5, 10}));

/// The names of config.json's linux.namespaces, in the order of the kinds.
constexpr std::array<std::string_view, nsjoin::kind_count> oci_names{
    "user", "mount", "pid", "network", "ipc", "uts", "cgroup", "time"};

constexpr auto oci_names_are_understood() -> bool {
    for (const Kind kind : nsjoin::all_kinds.set) {
        Kind read = kind == Kind::user ? Kind::time : Kind::user;
        if (nsjoin::oci_name(kind) != oci_names[static_cast<std::size_t>(kind)] ||
            !nsjoin::kind_from_oci_name(nsjoin::oci_name(kind), read) || read != kind) {
            return false;
        }
    }
    Kind none = Kind::uts;
    return !nsjoin::kind_from_oci_name("mnt", none) && !nsjoin::kind_from_oci_name("net", none) &&
           !nsjoin::kind_from_oci_name("", none) && none == Kind::uts;
}

static_assert(oci_names_are_understood());

TEST_CASE("the flags are the C library's") {
    CHECK(facts(Kind::user).clone_flag == CLONE_NEWUSER);
    CHECK(facts(Kind::mount).clone_flag == CLONE_NEWNS);
    CHECK(facts(Kind::pid).clone_flag == CLONE_NEWPID);
    CHECK(facts(Kind::net).clone_flag == CLONE_NEWNET);
    CHECK(facts(Kind::ipc).clone_flag == CLONE_NEWIPC);
    CHECK(facts(Kind::uts).clone_flag == CLONE_NEWUTS);
    CHECK(facts(Kind::cgroup).clone_flag == CLONE_NEWCGROUP);
    CHECK(facts(Kind::time).clone_flag == 0x80); // not in every libc yet
}

TEST_CASE("the names are those in /proc/self/ns") {
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const std::string name{row.name};
        CAPTURE(name);
        std::string link(64, '\0');
        const std::string path = "/proc/self/ns/" + name;
        const ssize_t length = ::readlink(path.c_str(), link.data(), link.size());
        REQUIRE(length > 0);
        CHECK(link.starts_with(name + ":["));
        if (!row.children_name.empty()) {
            const std::string children = "/proc/self/ns/" + std::string{row.children_name};
            CHECK(::access(children.c_str(), F_OK) == 0);
        }
    }
}

TEST_CASE("a kind is found by its names, and only by them") {
    Kind kind = Kind::uts;
    CHECK(nsjoin::kind_from_name("mnt", kind));
    CHECK(kind == Kind::mount);
    CHECK(nsjoin::kind_from_name("time_for_children", kind));
    CHECK(kind == Kind::time);
    for (const char* wrong : {"", "mount", "ne", "nett", "Net", "user_for_children"}) {
        CAPTURE(wrong);
        CHECK_FALSE(nsjoin::kind_from_name(wrong, kind));
        CHECK(kind == Kind::time);
    }
}

TEST_CASE("a set is walked in the order of the enum, each kind once") {
    std::vector<Kind> walked;
    for (const Kind kind : Kind::time | Kind::user | Kind::net) {
        walked.push_back(kind);
    }
    CHECK(walked == std::vector<Kind>{Kind::user, Kind::net, Kind::time});
    for (const Kind kind : KindSet{}) {
        FAIL_CHECK("a kind in the empty set: ", static_cast<int>(kind));
    }
}

} // namespace
