// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/error.hpp>
#include <nsjoin/result.hpp>

#include "support.hpp"

#include <array>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

using nsjoin::Error;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::Subject;

namespace {

constexpr std::size_t capacity = 159; // and the NUL
constexpr auto smallest = std::numeric_limits<std::int64_t>::min();
constexpr auto largest = std::numeric_limits<std::int64_t>::max();

constexpr auto text_of(std::int64_t number) -> Subject {
    Subject subject;
    subject.append(number);
    return subject;
}

static_assert(Subject{}.view().empty() && *Subject{}.c_str() == '\0');
static_assert(text_of(0).view() == "0");
static_assert(text_of(10).view() == "10");
static_assert(text_of(-1).view() == "-1");
static_assert(text_of(smallest).view() == "-9223372036854775808");
static_assert(text_of(largest).view() == "9223372036854775807");
static_assert(Subject{"pid "}.append(4711).append(", twice").view() == "pid 4711, twice");
static_assert(Subject{"a"} == Subject{"a"} && !(Subject{"a"} == Subject{"b"}));
static_assert(!(Subject{"a"} == Subject{"aa"}) && !(Subject{"a"} == Subject{}));

static_assert(Error{} == Error{Step::check_plan, Reason::system, 0, {}});
static_assert(!(Error{} == Error{Step::open_proc, Reason::system, 0, {}}));
static_assert(!(Error{} == Error{Step::check_plan, Reason::bad_value, 0, {}}));
static_assert(!(Error{} == Error{Step::check_plan, Reason::system, EPERM, {}}));
static_assert(!(Error{} == Error{Step::check_plan, Reason::system, 0, Subject{"x"}}));

static_assert(std::is_trivially_copyable_v<Error> && std::is_standard_layout_v<Error>);
static_assert(std::is_nothrow_move_constructible_v<nsjoin::Result<int>>);
// One record of a socket or pipe: written and read as a whole.
static_assert(sizeof(Error) <= 4096);

auto read_back(const Error& sent) -> Error {
    std::array<int, 2> ends{};
    Error received{Step::go_back, Reason::bad_message, -1, Subject{"what was there before"}};
    REQUIRE(::pipe(ends.data()) == 0);
    CHECK(support::run_in_child([&] {
              return ::write(ends[1], &sent, sizeof sent) == ssize_t{sizeof sent} ? 0 : 1;
          }) == 0);
    CHECK(::read(ends[0], &received, sizeof received) == ssize_t{sizeof received});
    ::close(ends[0]);
    ::close(ends[1]);
    return received;
}

} // namespace

TEST_CASE("a subject is cut at its capacity and stays a C string") {
    for (const std::size_t length : {capacity - 1, capacity, capacity + 1, std::size_t{70'000}}) {
        CAPTURE(length);
        const std::string text(length, 'x');
        const Subject subject{text};
        CHECK(subject.view() == text.substr(0, capacity));
        CHECK(std::strlen(subject.c_str()) == std::min(length, capacity));
    }
}

TEST_CASE("a full subject takes no more, and a number is cut as text is") {
    Subject subject{std::string(capacity - 2, 'x')};
    subject.append(smallest);
    CHECK(subject.view() == std::string(capacity - 2, 'x') + "-9");
    const Subject full = subject;
    subject.append("more").append(-7).append("");
    CHECK(subject == full);
    CHECK(subject.c_str()[capacity] == '\0');
}

TEST_CASE("numbers are written as the C library writes them") {
    std::int64_t number = 1;
    for (int i = 0; i < 63; ++i) {
        for (const std::int64_t one : {number, -number, number - 1, 1 - number}) {
            CHECK(text_of(one).view() == std::to_string(one));
        }
        number = i < 62 ? number * 2 : number;
    }
    CHECK(text_of(std::int64_t{0xFFFF'FFFF}).view() == "4294967295");
}

TEST_CASE("subjects are equal by their text, not by what was there before") {
    Subject reused{"a long text that was there before"};
    reused = Subject{"net"};
    CHECK(reused == Subject{"net"});
    CHECK_FALSE(reused == Subject{"net "});
    const std::string nul("a\0b", 3);
    CHECK(Subject{nul}.view() == nul);
    CHECK_FALSE(Subject{nul} == Subject{"a"});
}

TEST_CASE("an error crosses a pipe as it is") {
    const Error full{Step::join_mount, Reason::system, EPERM, Subject{std::string(500, 'p')}};
    const Error dead{Step::make_joiner, Reason::process_died, SIGKILL, Subject{"pid 4711"}};
    CHECK(read_back(full) == full);
    CHECK(read_back(dead) == dead);
    CHECK(read_back(Error{}) == Error{});
    CHECK(read_back(full).subject.view().size() == capacity);
}

TEST_CASE("every step has a name of its own, a system call and a process") {
    std::set<std::string_view> names;
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        CAPTURE(row.name);
        const nsjoin::StepFacts packed = facts(row.step);
        CHECK(packed.step == row.step);
        CHECK(packed.actor == row.actor);
        CHECK(packed.name == row.name);
        CHECK(packed.system == row.system);
        CHECK_FALSE(row.system.empty());
        CHECK(names.insert(row.name).second);
        CHECK(row.actor <= nsjoin::Actor::opener);
    }
    CHECK(names.size() == static_cast<std::size_t>(Step::go_back) + 1);
    CHECK(nsjoin::plan_step_count == static_cast<std::size_t>(Step::execute) + 1);
}

TEST_CASE("each kind has a step that joins it and one that creates it") {
    std::set<Step> steps;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const std::string name{row.name};
        CHECK(facts(join_step(row.kind)).name == "join " + name);
        CHECK(facts(create_step(row.kind)).name == "create " + name);
        steps.insert({join_step(row.kind), create_step(row.kind)});
    }
    CHECK(steps.size() == 2 * nsjoin::kind_count);
    CHECK(join_step(Kind::user) == Step::join_user);
    CHECK(join_step(Kind::mount) == Step::join_mount);
    CHECK(join_step(Kind::time) == Step::join_time);
    CHECK(create_step(Kind::time) == Step::create_time);
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        CAPTURE(row.name);
        CHECK(is_create(row.step) == row.name.starts_with("create "));
        CHECK(is_join(row.step) == (row.name.starts_with("join ") && row.step != Step::join_here));
    }
}

TEST_CASE("who does a step, where a plan needs all processes") {
    using nsjoin::Actor;
    for (const auto& [step, actor] :
         {std::pair{Step::check_plan, Actor::caller}, std::pair{Step::make_joiner, Actor::caller},
          std::pair{Step::enter_cgroup, Actor::first}, std::pair{Step::create_pid, Actor::first},
          std::pair{Step::write_uid_map, Actor::caller},
          std::pair{Step::write_gid_map, Actor::caller}, std::pair{Step::await_maps, Actor::child},
          std::pair{Step::open_mount_sources, Actor::opener},
          std::pair{Step::take_mount_sources, Actor::child}, std::pair{Step::execute, Actor::child},
          std::pair{Step::open_pidfd, Actor::caller}}) {
        const nsjoin::StepFacts row = facts(step);
        const Actor expected = actor;
        CAPTURE(row.name);
        CHECK(row.actor == expected);
    }
}

TEST_CASE("a failure carries the errno or the reason, not both") {
    const nsjoin::Result<int> by_errno =
        nsjoin::detail::fail(Step::open_proc, ENOENT, std::string(200, 'q'));
    CHECK(support::fails_with(by_errno, Step::open_proc, Reason::system, ENOENT));
    CHECK(by_errno.error().subject.view() == std::string(capacity, 'q'));
    const nsjoin::Result<void> by_reason = nsjoin::detail::fail(Step::wait, Reason::already_reaped);
    CHECK(support::fails_with(by_reason, Step::wait, Reason::already_reaped, 0));
    CHECK(by_reason.error().subject.view().empty());
}
