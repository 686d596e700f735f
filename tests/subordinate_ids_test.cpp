// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/subordinate_ids.hpp>

#include "spawn_support.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <fstream>
#include <sys/mount.h>

using nsjoin::IdRange;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

/// What the file gives the user.
auto ranges(std::string_view text, uid_t uid) -> nsjoin::Result<std::vector<IdRange>> {
    const support::TemporaryDirectory directory;
    const std::string path = directory.file("subuid");
    std::ofstream{path} << text;
    auto found = nsjoin::detail::subordinate_ids(path.c_str(), uid);
    ::unlink(path.c_str());
    return found;
}

} // namespace

TEST_CASE("every line of a user counts, by name or by number, in the order of the file") {
    const auto found = ranges("daemon:1:1\n"
                              "root:100000:65536\n"
                              "# a comment\n"
                              "rooted:5:5\n"
                              "0:300000:10\n"
                              ":7:7\n"
                              "root:4000000000:294967295",
                              0);
    REQUIRE(found);
    CHECK(*found == std::vector<IdRange>{{100000, 65536}, {300000, 10}, {4000000000, 294967295}});
}

TEST_CASE("a line that is none is passed over; a range of ids that can't be is told") {
    const auto found = ranges("root:x:5\nroot:5\nroot:5:0\nroot:5:y\nroot:-1:5\nroot:9:3:\n"
                              "root:18446744073709551616:1\nroot:36893488147419103249:1\n"
                              "root:7:2\n",
                              0);
    REQUIRE(found);
    CHECK(*found == std::vector<IdRange>{{7, 2}});
    for (const char* line : {"root:4294967295:1\n", "root:4294967290:6\n",
                             "root:1:18446744073709551615\n", "root:99999999999:1\n"}) {
        const auto past = ranges(line, 0);
        CHECK(support::fails_with(past, Step::read_subordinate_ids, Reason::map_overflow));
        CHECK(past.error().subject.view() ==
              std::string_view{line}.substr(0, std::strlen(line) - 1));
    }
    CHECK(ranges("root:4294967290:5\n", 0));
}

TEST_CASE("who has no range learns what to do; and who has no file, which") {
    const auto none = ranges("daemon:1:1\n", 0);
    CHECK(support::fails_with(none, Step::read_subordinate_ids, Reason::no_subordinate_ids));
    CHECK(nsjoin::explain(none.error()).find("for root): the user has no range there: usermod") !=
          std::string::npos);
    const auto nobody = ranges("daemon:1:1\n", 123456789);
    CHECK(nobody.error().subject.view().ends_with("for uid 123456789"));
    CHECK(support::fails_with(nsjoin::detail::subordinate_ids("/nowhere/subuid", 0),
                              Step::read_subordinate_ids, Reason::system, ENOENT));
}

TEST_CASE("nsswitch.conf that has them from elsewhere is told") {
    using nsjoin::detail::other_source;
    CHECK(other_source("passwd: files\n# subid: sss\n").empty());
    CHECK(other_source("passwd: files\nsubid: files\n").empty());
    CHECK(other_source("subid:\tsss # elsewhere\n") == "sss");
    CHECK(other_source("subid:").empty());
}

TEST_CASE("the map of a rootless container: the own id, and behind it all others") {
    const auto map = nsjoin::detail::map_of_ranges(1000, {{100000, 65536}, {500000, 10}});
    REQUIRE(map);
    CHECK(*map == nsjoin::IdMap{{0, 1000, 1}, {1, 100000, 65536}, {65537, 500000, 10}});
    const auto overlaps = nsjoin::detail::map_of_ranges(100001, {{100000, 65536}});
    CHECK(support::fails_with(overlaps, Step::check_plan, Reason::map_overlap));
}

TEST_CASE("a user with subordinate ids makes a rootless container") {
    if (::geteuid() != 0 || ::access("/usr/bin/newuidmap", X_OK) != 0) {
        MESSAGE("SKIP: needs root and newuidmap");
        return;
    }
    const support::TemporaryDirectory directory;
    const std::string file = directory.file("subids");
    std::ofstream{file} << "1000:200000:65536\n1000:400000:5\n";
    REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
    REQUIRE(::chmod(file.c_str(), 0644) == 0);
    // newuidmap(1) asks for the name of its caller.
    const std::string users = directory.file("passwd");
    std::ofstream{users} << support::slurp("/etc/passwd") << "tester:x:1000:1000::/:/bin/sh\n";
    REQUIRE(::chmod(users.c_str(), 0644) == 0);
    const int code = support::run_in_child([&] {
        CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
        CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        for (const char* path : {"/etc/subuid", "/etc/subgid"}) {
            CHILD_CHECK(::mount(file.c_str(), path, nullptr, MS_BIND, nullptr) == 0);
        }
        CHILD_CHECK(::mount(users.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) == 0);
        return support::as_user(1000, [] {
            const auto user = nsjoin::rootless_user();
            CHILD_CHECK(user);
            const auto output =
                support::shell(nsjoin::Plan{nsjoin::JoinPlan{}.create(*user)},
                               "while read a b c; do echo $a $b $c; done </proc/self/uid_map");
            CHILD_CHECK(support::wrote(output, "0 1000 1\n1 200000 65536\n65537 400000 5\n"));
            return 0;
        });
    });
    CHECK(code == 0);
    ::unlink(file.c_str());
    ::unlink(users.c_str());
}

TEST_CASE("gids are those of the group file, behind the own gid") {
    const support::TemporaryDirectory directory;
    const std::string uids = directory.file("subuid");
    const std::string gids = directory.file("subgid");
    std::ofstream{uids} << "1000:200000:5\n";
    std::ofstream{gids} << "1000:300000:6\n";
    REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
    REQUIRE((::chmod(uids.c_str(), 0644) == 0 && ::chmod(gids.c_str(), 0644) == 0));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
              CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
              CHILD_CHECK(::mount(uids.c_str(), "/etc/subuid", nullptr, MS_BIND, nullptr) == 0);
              CHILD_CHECK(::mount(gids.c_str(), "/etc/subgid", nullptr, MS_BIND, nullptr) == 0);
              CHILD_CHECK(::setresgid(1001, 1001, 1001) == 0);
              CHILD_CHECK(::setresuid(1000, 1000, 1000) == 0);
              const auto user = nsjoin::rootless_user();
              CHILD_CHECK(user);
              CHILD_CHECK((user->uids == nsjoin::IdMap{{0, 1000, 1}, {1, 200000, 5}}));
              CHILD_CHECK((user->gids == nsjoin::IdMap{{0, 1001, 1}, {1, 300000, 6}}));
              return 0;
          }) == 0);
    ::unlink(uids.c_str());
    ::unlink(gids.c_str());
}
