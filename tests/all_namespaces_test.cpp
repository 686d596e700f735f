// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/all_namespaces.hpp>
#include <nsjoin/create_namespaces.hpp>

#include "engine_support.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <sys/mount.h>

// Namespaces found: by their names, and all of them.

using nsjoin::AnyNamespaceFd;
using nsjoin::FoundNamespace;
using nsjoin::Kind;
using nsjoin::NamespaceFd;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

/// The one with that number, or none.
auto with_number(const std::vector<FoundNamespace>& all, std::uint64_t number)
    -> std::optional<FoundNamespace> {
    const auto found = std::find_if(
        all.begin(), all.end(), [&](const FoundNamespace& one) { return one.number == number; });
    return found == all.end() ? std::nullopt : std::optional{*found};
}

auto has(const std::vector<std::string>& list, const std::string& text) -> bool {
    return std::find(list.begin(), list.end(), text) != list.end();
}

} // namespace

TEST_CASE("a namespace is found again by its name, without /proc, as long as it lives") {
    const auto own = NamespaceFd<Kind::net>::own();
    REQUIRE(own);
    const auto handle = own->handle();
    if (!handle) {
        CHECK(handle.error().code == EOPNOTSUPP);
        support::skip("namespaces have no handles before Linux 6.18");
        return;
    }
    const support::NothingLeft nothing_left;
    const auto again = NamespaceFd<Kind::net>::open(*handle);
    REQUIRE(again);
    CHECK(*again->id() == *own->id());
    CHECK(*again->handle() == *handle);
    CHECK(support::closes_on_exec(again->fd().get()));
    CHECK(support::fails_with(NamespaceFd<Kind::uts>::open(*handle), Step::open_namespace,
                              Reason::wrong_kind));
    nsjoin::NamespaceHandle gone;
    {
        const auto pod = nsjoin::create_namespaces(nsjoin::JoinPlan{}.create<Kind::uts>());
        REQUIRE(pod);
        const auto uts = AnyNamespaceFd::adopt(*nsjoin::OwnedFd::duplicate(pod->fd<Kind::uts>()));
        REQUIRE(uts);
        gone = *uts->handle();
        CHECK(gone != *handle);
        const auto found = AnyNamespaceFd::open(gone);
        REQUIRE(found);
        CHECK(*found->id() == *uts->id());
    }
    CHECK(support::eventually([&] {
        const auto left = AnyNamespaceFd::open(gone);
        return !left && left.error().code == ESTALE;
    }));
    // Who has no rights over it, and is not in it, does not find it.
    const support::Container container{Kind::net};
    const auto hidden = NamespaceFd<Kind::net>::open(container.pid());
    REQUIRE(hidden);
    const auto of_hidden = hidden->handle();
    REQUIRE(of_hidden);
    CHECK(support::as_user(1000, [&] {
              CHILD_CHECK(!NamespaceFd<Kind::net>::open(*of_hidden));
              CHILD_CHECK(NamespaceFd<Kind::net>::open(*handle));
              return 0;
          }) == 0);
}

TEST_CASE("all namespaces: who lives there, what keeps them, who owns them") {
    const support::NothingLeft nothing_left;
    const support::Container container{nsjoin::kinds<Kind::user, Kind::net, Kind::pid, Kind::uts>};
    const auto number = [&](std::string_view name) {
        const std::string link = support::namespace_link(std::to_string(container.pid()), name);
        return std::stoull(link.substr(link.find('[') + 1));
    };
    const auto kept = nsjoin::create_namespaces(nsjoin::JoinPlan{}.create<Kind::ipc>());
    REQUIRE(kept);
    const auto all = nsjoin::all_namespaces();
    REQUIRE(all);
    const auto net = with_number(*all, number("net"));
    REQUIRE(net);
    CHECK(net->kind == Kind::net);
    CHECK(net->processes == std::vector<pid_t>{container.pid()});
    CHECK(net->owner == number("user"));
    const auto user = with_number(*all, number("user"));
    REQUIRE(user);
    CHECK(user->kind == Kind::user);
    CHECK(user->owner != 0);

    struct stat about {};

    REQUIRE(::fstat(kept->fd<Kind::ipc>().get(), &about) == 0);
    const auto ipc = with_number(*all, about.st_ino);
    REQUIRE(ipc);
    CHECK(ipc->processes.empty());
    CHECK(has(ipc->pins,
              std::to_string(::getpid()) + "/fd/" + std::to_string(kept->fd<Kind::ipc>().get())));
    CHECK(std::is_sorted(all->begin(), all->end(),
                         [](const auto& a, const auto& b) { return a.number < b.number; }));
    const auto only = nsjoin::all_namespaces(Kind::uts);
    REQUIRE(only);
    CHECK(!only->empty());
    CHECK(std::all_of(only->begin(), only->end(),
                      [](const FoundNamespace& one) { return one.kind == Kind::uts; }));
}

TEST_CASE("a file that is called like a namespace is none, and is not opened") {
    const support::TemporaryDirectory directory;

    struct stat own {};

    REQUIRE(::stat("/proc/self/ns/net", &own) == 0);
    const std::string fifo = directory.file("p[1]");
    const std::string namesake = directory.file("net:[" + std::to_string(own.st_ino) + "]");
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    {
        const nsjoin::OwnedFd held{::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
        const nsjoin::OwnedFd file{::open(namesake.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
        REQUIRE(held.ok());
        REQUIRE(file.ok());
        const auto all = nsjoin::all_namespaces(Kind::net); // would wait for a writer
        REQUIRE(all);
        const auto net = with_number(*all, own.st_ino);
        REQUIRE(net);
        CHECK(!has(net->pins, std::to_string(::getpid()) + "/fd/" + std::to_string(file.get())));
    }
    ::unlink(fifo.c_str());
    ::unlink(namesake.c_str());
}

TEST_CASE("a pid namespace names its parent") {
    const support::Container container{Kind::pid};
    const auto all = nsjoin::all_namespaces(Kind::pid);
    REQUIRE(all);

    struct stat own {};

    REQUIRE(::stat("/proc/self/ns/pid", &own) == 0);
    const bool named = std::any_of(all->begin(), all->end(), [&](const FoundNamespace& one) {
        return one.parent == own.st_ino;
    });
    CHECK(named);
}

TEST_CASE("a process's number in one pid namespace, by that in another") {
    const support::Container container{Kind::pid};
    const auto inside = NamespaceFd<Kind::pid>::open(container.pid());
    REQUIRE(inside);
    const auto number = inside->number_inside(container.pid());
    if (!number && number.error().code == ENOTTY) {
        support::skip("pids are translated since Linux 6.11");
        return;
    }
    REQUIRE(number);
    CHECK(*number == 1);
    const auto outside = inside->number_outside(1);
    REQUIRE(outside);
    CHECK(*outside == container.pid());
    CHECK(support::fails_with(inside->number_inside(::getpid()), Step::read_namespace,
                              Reason::system, ESRCH));
    CHECK(support::fails_with(inside->number_outside(999'999), Step::read_namespace, Reason::system,
                              ESRCH));
}

TEST_CASE("without /proc there is nothing to look at, which is said") {
    if (::geteuid() != 0) {
        support::skip("needs root");
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
              CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
              CHILD_CHECK(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
              CHILD_CHECK(support::fails_with(nsjoin::all_namespaces(), Step::open_proc,
                                              Reason::not_procfs));
              return 0;
          }) == 0);
}
