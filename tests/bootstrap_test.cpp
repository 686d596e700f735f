// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/bootstrap.hpp>

#include "embed_support.hpp"

#include <deque>
#include <random>

using nsjoin::BootstrapMessage;
using nsjoin::Dialect;
using nsjoin::Kind;
using support::Wire;

namespace {

constexpr unsigned flags = 27281;

/// A message that breaks a rule, and what the error has to say of it.
struct Hostile {
    std::string name;
    Dialect dialect;
    std::string bytes;
    std::string says;
};

/// The attributes of a dialect and something right in each.
auto good_payload(const nsjoin::detail::AttributeFacts& row) -> std::string {
    using nsjoin::detail::Field;
    switch (row.field) {
    case Field::clone_flags:
        return std::string(4, '\0');
    case Field::setgroups:
    case Field::rootless:
        return std::string(row.capacity, '\0');
    case Field::console:
    case Field::newuidmap:
    case Field::newgidmap:
        return "/dev/null";
    case Field::paths:
        return row.type == 27283 ? "/proc/self/ns/net" : "net:/proc/self/ns/net";
    case Field::uid_map:
    case Field::gid_map:
        return "0 0 1\n";
    case Field::oom_score_adj:
        return "0";
    case Field::mount_sources:
        return "/etc";
    case Field::time_offsets:
        return "monotonic 1 0\n";
    }
    return {};
}

void add_forms(std::vector<Hostile>& table, Dialect dialect) {
    const auto add = [&](const std::string& name, const std::string& bytes, std::string says) {
        table.push_back({name, dialect, bytes, std::move(says)});
    };
    for (const auto& row : nsjoin::facts(dialect).attributes) {
        const std::string name{row.name};
        const std::string good = good_payload(row);
        for (int length = 0; length < 4; ++length) {
            add(name + ", length " + std::to_string(length),
                Wire{}.raw(row.type, good, length).pad().bytes(), name + ": has a length under 4");
        }
        add(name + ", past the end", Wire{}.raw(row.type, good, 60000).pad().bytes(),
            name + ": goes past the end");
        add(name + ", twice", Wire{}.raw(row.type, good).pad().raw(row.type, good).pad().bytes(),
            name + ": is there twice");
        if (row.shape == nsjoin::detail::Shape::text) {
            const std::string fill(row.capacity + 1U, 'a');
            if (row.capacity < 65530) {
                add(name + ", too long", Wire{}.raw(row.type, fill).pad().bytes(),
                    name + ": is too long");
                add(name + ", NUL inside",
                    Wire{}.raw(row.type, good + std::string(1, '\0') + "x").pad().bytes(),
                    name + ": has a NUL in it");
                for (std::size_t size = 0; size < 4; ++size) { // lengths of 4 to 7
                    add(name + ", " + std::to_string(size) + " bytes",
                        Wire{}.raw(row.type, std::string(size, ',')).pad().bytes(), name + ": ");
                }
            }
            continue;
        }
        for (std::size_t size : {0U, 1U, 2U, 3U, 5U, 8U}) {
            if (size != good.size()) {
                add(name + ", " + std::to_string(size) + " bytes",
                    Wire{}.raw(row.type, std::string(size, '\0')).pad().bytes(),
                    name + ": is not ");
            }
        }
        if (row.shape != nsjoin::detail::Shape::number) {
            add(name + ", value 2",
                Wire{}.raw(row.type, "\2" + std::string(row.capacity - 1U, '\0')).pad().bytes(),
                name + ": is neither 0 nor 1");
        }
    }
    for (const unsigned type : {0U, 1U, 27280U, 27291U, 27300U, 65535U}) {
        add("type " + std::to_string(type), Wire{}.text(type, "x").bytes(),
            "attribute " + std::to_string(type) + ": is unknown");
    }
    for (std::size_t size = 1; size < 4; ++size) {
        std::string bytes = Wire{}.bytes(static_cast<int>(16 + size));
        add("rest of " + std::to_string(size), bytes + std::string(size, '\1'),
            "ends inside of an attribute's header");
    }
    add("flag of no namespace", Wire{}.word(flags, 0x100).bytes(), "clone flags: has a flag");
    add("all flags", Wire{}.word(flags, 0xffffffff).bytes(), "clone flags: has a flag");
    add("NLMSG_ERROR", Wire{2}.bytes(), "gave up");
    add("another type", Wire{1}.bytes(), "another type");
    add("header too short", Wire{}.bytes(15), "shorter than its own header");
    add("header of 0", Wire{}.bytes(0), "shorter than its own header");
    add("2 GB", Wire{}.bytes(0x7fffffff), "longer than all attributes");
}

void add_values(std::vector<Hostile>& table, Dialect dialect, unsigned paths, unsigned uids) {
    const auto add = [&](unsigned type, const std::string& payload, std::string says) {
        table.push_back({std::to_string(type) + " <" + payload.substr(0, 40) + ">", dialect,
                         Wire{}.text(type, payload).bytes(), std::move(says)});
    };
    const bool typed = paths == 27282;
    const std::string type = typed ? "net:" : "";
    add(paths, type + "relative", "item 1 is no absolute path");
    add(paths, type, "item 1 is no absolute path");
    add(paths, type + "/a,b", "item 2");
    add(paths, type + "/a,", "item 2");
    add(paths, "," + type + "/a", "item 1");
    add(paths, type + "/a,,", "item 2");
    add(paths, type + "/" + std::string(4096, 'a'), "item 1 is longer than 4095");
    if (typed) {
        add(paths, "/proc/self/ns/net", "has no type before it");
        add(paths, "nets:/a", "unknown type");
        add(paths, "NET:/a", "unknown type");
        add(paths, ":/a", "unknown type");
        add(paths, "pid_for_children:/a", "unknown type");
        add(paths, "mount:/a", "unknown type");
        add(paths, " net:/a", "unknown type");
        add(paths, "net:/a,net:/b", "item 2 has the type of an earlier one");
        add(paths, "net:/a,ipc:/b,pid:/c,mnt:/d,user:/e,uts:/f,time:/g,cgroup:/h,net:/i",
            "more than eight");
    } else {
        add(paths, "/a,/b,/c,/d,/e,/f,/g,/h,/i", "more than eight");
    }
    for (const unsigned map : {uids, uids + 1}) {
        const std::string name = map == uids ? "uid map: " : "gid map: ";
        for (const char* line :
             {"0 0\n", "0 0 1 2\n", "a b c\n", "0 0 -1\n", "-1 0 1\n", "0 0 1x\n",
              "0 0 4294967296\n", "0x0 0 1\n", "\n", " \n", "0 0 1\n\n", "0,0,1\n", "0\t0\t1\n",
              "+0 0 1\n", "0 0 1\n0 0\n", "99999999999999999999 0 1\n"}) {
            add(map, line, name + "line ");
        }
        add(map, "0 0 1", name + "has no newline");
        add(map, "0 0 1\n1 1 1", name + "has no newline");
        add(map, "0 0 0\n", name + "line 1 (0 0 0)");
        add(map, "0 4294967295 1\n", name + "line 1");
        add(map, "4294967294 0 2\n", name + "line 1");
        add(map, "0 0 2\n1 9 1\n", name + "line 2");
        add(map, "0 0 2\n9 1 1\n", name + "line 2");
        std::string lines;
        for (int i = 0; i < 341; ++i) {
            lines += std::to_string(i) + " " + std::to_string(i) + " 1\n";
        }
        add(map, lines, name + "has more than 340 lines");
        add(map, "0 0 1\n", map == uids ? "gid map: is missing" : "uid map: is missing");
    }
}

void add_later_values(std::vector<Hostile>& table, Dialect dialect) {
    const auto add = [&](unsigned type, const std::string& payload, std::string says) {
        table.push_back({std::to_string(type) + " <" + payload.substr(0, 40) + ">", dialect,
                         Wire{}.text(type, payload).bytes(), std::move(says)});
    };
    for (const char* number : {"", " 1", "1 ", "1x", "+1", "--1", "0x1", "1.0", "9e9"}) {
        add(27286, number, "oom_score_adj: is no decimal number");
    }
    for (const unsigned type : {27288U, 27289U}) {
        const std::string name = type == 27288 ? "newuidmap path: " : "newgidmap path: ";
        add(type, "newuidmap", name + "is not absolute");
        add(type, "", name + "is empty");
        add(type, "./x", name + "is not absolute");
    }
    if (dialect == Dialect::runc_1_2) {
        for (const char* text :
             {"monotonic 1\n", "monotonic 1 2 3\n", "realtime 1 2\n", "monotonic x 0\n",
              "monotonic 0 1000000000\n", "monotonic 0 -1\n", "monotonic 9223372036854775807 0\n",
              "monotonic 9223372036 0\n", "boottime -9223372036 0\n", "\n", "monotonic\n",
              "monotonic 1 0\nmonotonic 2 0\n", "boottime 1 0\nboottime 2 0\n", "1 2 3\n"}) {
            add(27290, text, "time offsets: line ");
        }
        add(27290, "", "time offsets: is empty");
    }
}

auto hostile_messages() -> std::vector<Hostile> {
    std::vector<Hostile> table;
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        add_forms(table, dialect);
        const bool old = dialect == Dialect::runc_2016;
        add_values(table, dialect, old ? 27283 : 27282, old ? 27284 : 27283);
        if (!old) {
            add_later_values(table, dialect);
        }
    }
    return table;
}

auto decode(Dialect dialect, const std::string& bytes) -> nsjoin::Result<BootstrapMessage> {
    // In memory of exactly that size, so that a sanitizer sees what is read past its end.
    const std::vector<std::byte> copy{support::as_bytes(bytes).begin(),
                                      support::as_bytes(bytes).end()};
    auto message = nsjoin::decode(dialect, copy);
    return message;
}

/// A message that keeps the rules, out of chance.
class Chance {
  public:
    explicit Chance(unsigned seed) : engine_{seed} {}

    auto message(Dialect dialect) -> BootstrapMessage {
        BootstrapMessage m;
        m.created = nsjoin::KindSet::from_bits(static_cast<std::uint8_t>(pick(256)));
        const bool typed = nsjoin::facts(dialect).typed_paths;
        m.join_count = pick(9);
        for (std::size_t i = 0; i < m.join_count; ++i) {
            m.joins[i] = {typed ? std::optional{static_cast<Kind>(i)} : std::nullopt, path()};
        }
        if (pick(2) == 0) {
            m.uids.emplace(map());
            m.gids.emplace(map());
        }
        m.setgroups_allowed = pick(2) == 0;
        if (dialect == Dialect::runc_2016) {
            m.console = pick(2) == 0 ? std::string_view{} : path();
            return m;
        }
        if (pick(2) == 0) {
            m.oom_score_adj = static_cast<int>(pick(2001)) - 1000;
        }
        m.rootless = pick(2) == 0;
        m.newuidmap = pick(2) == 0 ? std::string_view{} : path();
        m.newgidmap = pick(2) == 0 ? std::string_view{} : path();
        if (dialect == Dialect::runc_1_1 && pick(2) == 0) {
            m.mount_sources = keep(std::string{path()} + '\0' + '\0' + std::string{path()} + '\0');
        }
        if (dialect == Dialect::runc_1_2 && pick(2) == 0) {
            const auto most = std::int64_t{9'000'000'000'000'000'000};
            m.time_offsets = nsjoin::TimeOffsets{
                std::chrono::nanoseconds{std::uniform_int_distribution{-most, most}(engine_)},
                std::chrono::nanoseconds{std::uniform_int_distribution{-most, most}(engine_)}};
        }
        return m;
    }

    auto pick(std::size_t below) -> std::size_t { return engine_() % below; }

  private:
    auto keep(std::string text) -> std::string_view { return texts_.emplace_back(std::move(text)); }

    auto path() -> std::string_view {
        std::string text = "/";
        const std::size_t length = pick(4) == 0 ? pick(4094) : pick(20);
        for (std::size_t i = 0; i < length; ++i) {
            const char c = static_cast<char>(1 + pick(255));
            text.push_back(c == ',' ? '/' : c);
        }
        return keep(std::move(text));
    }

    auto map() -> nsjoin::IdMap {
        std::vector<nsjoin::IdExtent> extents(1 + pick(pick(3) == 0 ? 340 : 4));
        std::uint32_t inside = 0;
        std::uint32_t outside = 4'000'000'000;
        for (nsjoin::IdExtent& e : extents) {
            e.count = 1 + static_cast<std::uint32_t>(pick(1000));
            outside -= e.count;
            e.inside = inside;
            e.outside = outside;
            inside += e.count + static_cast<std::uint32_t>(pick(1000));
        }
        return *nsjoin::IdMap::from(extents);
    }

    std::mt19937 engine_;
    std::deque<std::string> texts_;
};

} // namespace

TEST_CASE("hostile messages are refused, with the attribute named") {
    const auto table = hostile_messages();
    CHECK(table.size() >= 200);
    for (const Hostile& row : table) {
        CAPTURE(row.name);
        CAPTURE(nsjoin::facts(row.dialect).name.data());
        const auto message = decode(row.dialect, row.bytes);
        REQUIRE(!message);
        CHECK(message.error().step == nsjoin::Step::read_bootstrap);
        CHECK(message.error().reason != nsjoin::Reason::system);
        CHECK_MESSAGE(message.error().subject.view().find(row.says) != std::string_view::npos,
                      message.error().subject.c_str(), " does not have: ", row.says);
    }
    MESSAGE(table.size() << " messages");
}

TEST_CASE("a message that is cut anywhere is refused, or is another whole one") {
    const std::string whole = Wire{}
                                  .word(flags, 0)
                                  .text(27282, "net:/proc/self/ns/net")
                                  .text(27283, "0 0 1\n")
                                  .text(27284, "0 0 1\n")
                                  .word(27285, 1)
                                  .bytes();
    REQUIRE(decode(Dialect::runc_1_1, whole));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CAPTURE(size);
        CHECK(!decode(Dialect::runc_1_1, whole.substr(0, size)));
    }
    CHECK(!decode(Dialect::runc_1_1, whole + "x"));
}

TEST_CASE("hostile messages end a real program, which names the attribute and leaves nothing") {
    const support::NothingLeft nothing_left;
    const auto table = hostile_messages();
    for (const Hostile& row : table) {
        CAPTURE(row.name);
        support::HandSupervisor supervisor;
        supervisor.environment = {"PROBE_SEAL=no",
                                  "PROBE_DIALECT=" + std::string{nsjoin::facts(row.dialect).name}};
        const auto ran = supervisor.run([&](int socket) {
            (void)!::send(socket, row.bytes.data(), row.bytes.size(), MSG_NOSIGNAL);
            ::shutdown(socket, SHUT_WR);
        });
        CHECK(!ran.stalled);
        CHECK(ran.joiner == 1);
        CHECK(ran.pid == 0);
        CHECK(ran.output.empty());
        CHECK_MESSAGE(ran.log.find(row.says) != std::string::npos, ran.log);
        CHECK(ran.log.find("\"level\":\"fatal\"") != std::string::npos);
    }
}

TEST_CASE("what is encoded is decoded to the same") {
    Chance chance{20160304};
    std::size_t count = 0;
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        std::vector<std::byte> buffer(nsjoin::message_capacity(dialect));
        for (int i = 0; i < 2000; ++i, ++count) {
            const BootstrapMessage message = chance.message(dialect);
            const auto size = nsjoin::encode(dialect, message, buffer);
            REQUIRE(size);
            const auto back = nsjoin::decode(dialect, std::span{buffer}.first(*size));
            REQUIRE(back);
            REQUIRE(*back == message);
        }
    }
    CHECK(count == 6000);
}

TEST_CASE("a byte changed anywhere is refused or gives another plan, and never harm") {
    Chance chance{7};
    std::vector<std::byte> buffer(nsjoin::message_capacity(Dialect::runc_1_2));
    for (int i = 0; i < 20000; ++i) {
        const auto size =
            nsjoin::encode(Dialect::runc_1_2, chance.message(Dialect::runc_1_2), buffer);
        REQUIRE(size);
        std::vector<std::byte> copy{buffer.begin(),
                                    buffer.begin() + static_cast<std::ptrdiff_t>(*size)};
        copy[chance.pick(copy.size())] = static_cast<std::byte>(chance.pick(256));
        const auto back = nsjoin::decode(Dialect::runc_1_2, copy);
        CHECK((back || back.error().step == nsjoin::Step::read_bootstrap));
    }
}

TEST_CASE("what a dialect can't say is not encoded") {
    std::vector<std::byte> buffer(nsjoin::message_capacity(Dialect::runc_1_1));
    const auto refused = [&](Dialect dialect, const BootstrapMessage& message, const char* what) {
        const auto size = nsjoin::encode(dialect, message, buffer);
        return support::fails_with(size, nsjoin::Step::start_program,
                                   nsjoin::Reason::bad_message) &&
               size.error().subject.view().find(what) == 0;
    };
    BootstrapMessage message;
    message.console = "/dev/tty";
    CHECK(refused(Dialect::runc_1_1, message, "console path"));
    CHECK(nsjoin::encode(Dialect::runc_2016, message, buffer));
    message = {};
    message.oom_score_adj = 1;
    CHECK(refused(Dialect::runc_2016, message, "oom_score_adj"));
    message = {};
    message.rootless = true;
    CHECK(refused(Dialect::runc_2016, message, "rootless"));
    message = {};
    message.time_offsets.emplace();
    CHECK(refused(Dialect::runc_1_1, message, "time offsets"));
    CHECK(nsjoin::encode(Dialect::runc_1_2, message, buffer));
    message = {};
    message.mount_sources = "/etc";
    CHECK(refused(Dialect::runc_1_2, message, "mount sources"));
    CHECK(nsjoin::encode(Dialect::runc_1_1, message, buffer));
    message = {};
    message.join_count = 1;
    for (const char* path : {"", "relative", "/a,net:/b"}) {
        message.joins[0] = {Kind::net, path};
        CHECK(refused(Dialect::runc_1_1, message, "namespace paths"));
    }
    message.joins[0] = {std::nullopt, "/a"};
    CHECK(refused(Dialect::runc_1_1, message, "namespace paths"));
    CHECK(nsjoin::encode(Dialect::runc_2016, message, buffer));
}

TEST_CASE("CVE-2021-43784: a length that does not fit its field is never written") {
    std::vector<std::byte> buffer(200'000);
    for (const std::size_t length :
         {65525U, 65529U, 65530U, 65531U, 65535U, 65536U, 65540U, 131072U}) {
        CAPTURE(length);
        const std::string sources = "/" + std::string(length - 1, 'a');
        BootstrapMessage message;
        message.mount_sources = sources;
        const auto size = nsjoin::encode(Dialect::runc_1_1, message, buffer);
        CHECK(size.has_value() == (length <= 65530));
        if (size) {
            const auto back = nsjoin::decode(Dialect::runc_1_1, std::span{buffer}.first(*size));
            REQUIRE(back);
            CHECK(back->mount_sources == sources);
        }
    }
    BootstrapMessage message;
    CHECK(!nsjoin::encode(Dialect::runc_1_1, message, std::span{buffer}.first(8)));
    CHECK(!nsjoin::encode(Dialect::runc_1_1, message, std::span{buffer}.first(20)));
}

TEST_CASE("a final NUL and padding may be there or not") {
    for (const std::size_t nuls : {0U, 1U}) {
        const std::string text = "net:/proc/self/ns/net" + std::string(nuls, '\0');
        const auto message = decode(Dialect::runc_1_2, Wire{}.raw(27282, text).bytes());
        REQUIRE(message);
        CHECK(message->join_count == 1);
    }
    const auto flag = decode(Dialect::runc_2016, Wire{}.raw(27286, "\1").bytes());
    REQUIRE(flag);
    CHECK(flag->setgroups_allowed);
}
