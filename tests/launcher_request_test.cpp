// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/detail/launcher/written_plan.hpp>

#include "support.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <linux/filter.h>
#include <optional>
#include <span>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <vector>

// What a launcher is asked, in bytes.

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

const std::array<const char*, 2> true_words{"true", nullptr};
const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

/// A plan in which every value that travels is another one than a new draft's.
auto said_in_full(std::span<const nsjoin::MountSource> sources, std::span<const sock_filter> code)
    -> nsjoin::Draft {
    using nsjoin::Capability;
    nsjoin::Draft draft;
    draft.created = KindSet{Kind::user} | Kind::mount | Kind::time | Kind::net | Kind::uts;
    draft.maps = nsjoin::NewUser{.uids = {{0, 1000, 1}, {1, 100000, 65536}},
                                 .gids = {{0, 5, 1}},
                                 .setgroups = nsjoin::Setgroups::deny};
    draft.time_offsets = nsjoin::TimeOffsets{std::chrono::seconds{-3}, std::chrono::seconds{4}};
    draft.newuidmap = "/usr/bin/newuidmap";
    draft.newgidmap = ""; // which is another one than none
    draft.mount_sources = {sources};
    draft.credentials = nsjoin::Credentials{
        .uid = 1, .gid = {}, .groups = nsjoin::Groups{std::span<const gid_t>{}}};
    draft.keep_ids = true;
    draft.keep_capabilities = true;
    draft.new_session = true;
    draft.session_keyring = nsjoin::SessionKeyring::fresh;
    draft.propagation = nsjoin::Propagation::slave;
    draft.root_path = "/a";
    draft.new_root = "/b";
    draft.proc = "/c";
    draft.working_directory_path = "/d";
    draft.host_name = "host";
    draft.domain_name = "domain";
    draft.loopback_up = true;
    draft.umask = 0;
    draft.cpu_affinity = nsjoin::CpuSet{}.with(0).with(1023);
    draft.priority = -20;
    draft.capabilities = nsjoin::Capabilities{.permitted = Capability::chown};
    draft.filter = nsjoin::SeccompFilter{code};
    draft.no_new_privileges = true;
    draft.oom_score_adj = -1000;
    draft.name = "fifteen letters";
    draft.death_signal = 64;
    draft.deadline = std::chrono::nanoseconds{1};
    return draft;
}

/// A request as it travels, without descriptors.
auto request_of(const nsjoin::Draft& plan, const nsjoin::Command& command)
    -> std::vector<std::byte> {
    const auto write = [&](std::span<std::byte> into) {
        nsjoin::detail::Writer writer{into};
        nsjoin::detail::write_request(writer, plan, command, nsjoin::detail::CallerState{});
        return writer.size();
    };
    std::vector<std::byte> bytes(write({}));
    (void)write(bytes);
    return bytes;
}

/// What a joiner reads of it. What that allocates, only the end of the process frees.
struct ReadRequest {
    explicit ReadRequest(std::span<std::byte> bytes) : archive{bytes, {}} {
        nsjoin::detail::plan_fields(archive, plan);
        nsjoin::detail::state_fields(archive, state);
        command.emplace(nsjoin::detail::read_command(archive));
    }

    nsjoin::detail::Reader archive;
    nsjoin::Draft plan;
    nsjoin::detail::CallerState state;
    std::optional<nsjoin::Command> command;
};

const std::array<nsjoin::MountSource, 2> two_sources{{{"/etc", 20}, {"/usr", 21}}};
const std::array<sock_filter, 1> allow_all{
    {BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)}}; // SECCOMP_RET_ALLOW

} // namespace

TEST_CASE("a plan and a command are read as they were written") {
    CHECK(support::run_in_child([] {
              nsjoin::Draft plan = said_in_full(two_sources, allow_all);
              const std::array<const char*, 3> words{"true", "", nullptr};
              const std::array<const char*, 2> variables{"A=b", nullptr};
              const std::array<nsjoin::ResourceLimit, 1> limits{
                  {{RLIMIT_CORE, rlimit{3, RLIM_INFINITY}}}};
              sigset_t two{};
              ::sigaddset(&two, SIGUSR2);
              ::sigaddset(&two, 64);
              nsjoin::Command command{.program = Program::in_path("true", "/bin:/usr/bin"),
                                      .arguments = words};
              command.environment = nsjoin::WordList{variables};
              command.close_others = false;
              command.default_signals = two;
              command.signal_mask = sigset_t{};
              command.limits = limits;
              command.no_new_privileges = true;
              std::vector<std::byte> bytes = request_of(plan, command);
              ReadRequest read{bytes};
              CHILD_CHECK(read.archive.good());
              CHILD_CHECK(read.plan.filter && read.plan.filter->code.size() == 1);
              CHILD_CHECK(read.plan.filter->code[0].k == allow_all[0].k);
              plan.filter = read.plan.filter; // else compared by where it lies
              CHILD_CHECK(read.plan == plan);
              const nsjoin::Command& got = *read.command;
              CHILD_CHECK(std::string_view{got.program.path()} == "true");
              CHILD_CHECK(got.program.search_list() == "/bin:/usr/bin");
              CHILD_CHECK(std::string_view{got.arguments.get()[0]} == "true");
              CHILD_CHECK(std::string_view{got.arguments.get()[1]}.empty());
              CHILD_CHECK(got.arguments.get()[2] == nullptr);
              CHILD_CHECK(got.environment);
              CHILD_CHECK(std::string_view{got.environment->get()[0]} == "A=b");
              CHILD_CHECK(got.environment->get()[1] == nullptr);
              CHILD_CHECK(!got.close_others && got.no_new_privileges);
              CHILD_CHECK(got.default_signals && got.signal_mask);
              CHILD_CHECK(::sigismember(&*got.default_signals, 64) == 1);
              CHILD_CHECK(::sigismember(&*got.default_signals, SIGUSR1) == 0);
              CHILD_CHECK(::sigismember(&*got.signal_mask, SIGUSR2) == 0);
              CHILD_CHECK(got.limits.size() == 1 && got.limits[0].resource == RLIMIT_CORE);
              CHILD_CHECK(got.limits[0].value.rlim_cur == 3);
              CHILD_CHECK(got.limits[0].value.rlim_max == RLIM_INFINITY);
              std::vector<std::byte> none = request_of({}, run_true);
              const ReadRequest empty{none};
              CHILD_CHECK(empty.archive.good() && empty.plan == nsjoin::Draft{});
              CHILD_CHECK(!empty.command->default_signals && !empty.command->signal_mask);
              CHILD_CHECK(empty.command->close_others && !empty.command->no_new_privileges);
              return 0;
          }) == 0);
}

TEST_CASE("a request that is cut anywhere, or says more than came, is refused") {
    CHECK(support::run_in_child([] {
              std::vector<std::byte> bytes =
                  request_of(said_in_full(two_sources, allow_all), run_true);
              for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 500) {
                  CHILD_CHECK(!ReadRequest{std::span{bytes}.first(size)}.archive.good());
              }
              using nsjoin::detail::Reader;
              std::array<std::uint64_t, 2> lie{~std::uint64_t{0}, 0};
              Reader text{std::as_writable_bytes(std::span{lie}), {}};
              std::string_view got = "before";
              text.text(got);
              CHILD_CHECK(!text.good() && got.empty());
              lie[0] = std::uint64_t{1} << 50U;
              Reader list{std::as_writable_bytes(std::span{lie}), {}};
              CHILD_CHECK(list.many<std::uint64_t>().empty() && !list.good());
              const nsjoin::OwnedFd one{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
              std::array<std::int32_t, 2> places{0, 1};
              Reader places_of{std::as_writable_bytes(std::span{places}), {&one, 1}};
              nsjoin::BorrowedFd fd;
              places_of.fd(fd);
              CHILD_CHECK(places_of.good() && fd == one.borrow());
              places_of.fd(fd);
              CHILD_CHECK(!places_of.good() && !fd.ok());
              return 0;
          }) == 0);
    const nsjoin::detail::RequestHeader smaller{.bytes = 3, .descriptors = 0};
    std::array<std::byte, sizeof smaller + 4> more{};
    std::memcpy(more.data(), &smaller, sizeof smaller);
    for (const std::size_t size : {std::size_t{1}, sizeof smaller - 1, more.size()}) {
        const auto pair = nsjoin::SocketPair::open(nsjoin::SocketKind::seqpacket);
        REQUIRE(pair);
        REQUIRE(::send(pair->first.get(), more.data(), size, 0) == static_cast<ssize_t>(size));
        nsjoin::detail::ReceivedRequest request;
        CHECK(support::fails_with(request.receive(pair->second), Step::read_bootstrap,
                                  Reason::bad_message));
    }
}

TEST_CASE(
    "a prepared plan has descriptors of its own, which are no standard ones, and is the same") {
    CHECK(support::run_in_child([] {
              const nsjoin::OwnedFd root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
              nsjoin::Draft plan = said_in_full(two_sources, allow_all);
              plan.root_path.reset();
              plan.root = root;
              plan.cgroup = root; // the same again
              ::close(STDIN_FILENO);
              const auto prepared = nsjoin::detail::written(plan);
              CHILD_CHECK(prepared && prepared->descriptors.size() == 1);
              CHILD_CHECK(prepared->descriptors[0].get() > STDERR_FILENO);
              CHILD_CHECK(support::closes_on_exec(prepared->descriptors[0].get()));
              std::vector<std::byte> first(64UL * 1024);
              std::vector<std::byte> second(first.size());
              nsjoin::detail::Writer at_once{first};
              nsjoin::detail::Writer later{second};
              nsjoin::detail::write_plan(at_once, plan);
              nsjoin::detail::write_plan(later, *prepared);
              CHILD_CHECK(later.descriptors().size() == 1);
              CHILD_CHECK(at_once.size() == later.size() && first == second);
              return 0;
          }) == 0);
}

TEST_CASE("a request has more descriptors than a record takes, and fewer bytes") {
    const auto pair = nsjoin::SocketPair::open(nsjoin::SocketKind::seqpacket);
    REQUIRE(pair);
    const std::vector<nsjoin::BorrowedFd> many(nsjoin::max_descriptors + 7, pair->first.borrow());
    const nsjoin::detail::RequestHeader header{.bytes = 4, .descriptors = many.size()};
    std::array<std::byte, sizeof header + 4> bytes{};
    std::memcpy(bytes.data(), &header, sizeof header);
    const auto send = [&](std::span<std::byte> record,
                          std::span<const nsjoin::BorrowedFd> descriptors) -> nsjoin::Result<void> {
        const long sent =
            nsjoin::detail::send_record(pair->first, record.data(), record.size(), descriptors);
        CHECK(sent == static_cast<long>(record.size()));
        return {};
    };
    REQUIRE(nsjoin::detail::send_request(send, bytes, many));
    nsjoin::detail::ReceivedRequest request;
    REQUIRE(request.receive(pair->second));
    CHECK(request.message().size() == 4);
    CHECK(request.descriptors().size() == many.size());
    for (const nsjoin::OwnedFd& fd : request.descriptors()) {
        CHECK(support::closes_on_exec(fd.get()));
    }
}
