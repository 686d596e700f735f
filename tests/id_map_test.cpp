// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/id_map.hpp>

#include "support.hpp"

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <string>
#include <vector>

using nsjoin::IdExtent;
using nsjoin::IdMap;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

constexpr std::uint32_t last_id = 0xFFFF'FFFE; // 2^32-1 is "no change"

// A map is a constant where it can be.
constexpr IdMap constant{{0, 1000, 1}, {1, 100'000, 65'535}};
static_assert(constant.extents().size() == 2 && constant.extents()[1].outside == 100'000);
static_assert(constant.maps(0) && constant.maps(65'535) && !constant.maps(65'536));
static_assert(constant == IdMap{{0, 1000, 1}, {1, 100'000, 65'535}});
static_assert(!(constant == IdMap{{0, 1000, 1}}));
static_assert(!(constant == IdMap{{1, 100'000, 65'535}, {0, 1000, 1}})); // as it is written
constexpr auto single = IdMap::single(0, 1000);
static_assert((*single).extents().size() == 1 && (*single).extents()[0] == IdExtent{0, 1000, 1});
static_assert(IdMap::single(0, 0xFFFF'FFFF).error().reason == Reason::map_overflow);
static_assert(IdMap::from({}).error().reason == Reason::map_empty);
constexpr auto last = IdMap::single(last_id, last_id);
static_assert((*last).maps(last_id) && !(*last).maps(0));

constexpr auto copy_and_assign() -> bool {
    IdMap map{{0, 1, 1}};
    const IdMap copy{map};
    map = constant;
    map = *&map;
    const IdMap back{std::move(map)};
    return copy == IdMap{{0, 1, 1}} && back == constant;
}

static_assert(copy_and_assign());

struct Case {
    std::string what;
    std::vector<IdExtent> lines;
    Reason reason;
    const char* subject;
};

auto many(std::size_t count) -> std::vector<IdExtent> {
    std::vector<IdExtent> lines;
    for (std::uint32_t i = 0; i < count; ++i) {
        lines.push_back({i * 2, i * 3, 1});
    }
    return lines;
}

void check_broken(const Case& one) {
    CAPTURE(one.what);
    const auto map = IdMap::from(one.lines);
    REQUIRE_FALSE(map.has_value());
    CHECK(map.error().step == Step::check_plan);
    CHECK(map.error().reason == one.reason);
    CHECK(map.error().code == 0);
    CHECK(map.error().subject.view() == one.subject);
}

/// The rules, one id after another: for maps of small ids only.
class Model {
  public:
    explicit Model(const std::vector<IdExtent>& lines) {
        good_ = !lines.empty();
        for (const IdExtent& line : lines) {
            good_ = good_ && line.count != 0;
            for (std::uint32_t i = 0; i < line.count; ++i) {
                const bool new_inside = inside_.insert(line.inside + i).second;
                const bool new_outside = outside_.insert(line.outside + i).second;
                good_ = good_ && new_inside && new_outside;
            }
        }
    }

    [[nodiscard]] auto good() const -> bool { return good_; }

    [[nodiscard]] auto maps(std::uint32_t id) const -> bool { return inside_.count(id) != 0; }

  private:
    bool good_ = false;
    std::set<std::uint32_t> inside_;
    std::set<std::uint32_t> outside_;
};

class Generator {
  public:
    auto below(std::uint32_t end) -> std::uint32_t {
        return static_cast<std::uint32_t>(engine_() % end);
    }

    auto lines(std::uint32_t at_most, std::uint32_t ids) -> std::vector<IdExtent> {
        std::vector<IdExtent> result(below(at_most + 1));
        for (IdExtent& line : result) {
            line = {below(ids), below(ids), below(20) == 0 ? 0 : 1 + below(6)};
        }
        return result;
    }

  private:
    std::mt19937 engine_{20'260'101}; // NOLINT(cert-msc*): the same lists each time
};

auto text_of(const std::vector<IdExtent>& lines) -> std::string {
    std::string text;
    for (const IdExtent& line : lines) {
        text += std::to_string(line.inside) + " " + std::to_string(line.outside) + " " +
                std::to_string(line.count) + "\n";
    }
    return text;
}

/// Whether the kernel takes the map, as the uid_map of a new user namespace.
auto kernel_takes(const std::vector<IdExtent>& lines) -> bool {
    std::array<int, 2> ready{};
    std::array<int, 2> go{};
    if (::pipe(ready.data()) != 0 || ::pipe(go.data()) != 0) {
        return false;
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
        char byte = 0;
        ::close(go[1]);
        const bool made = ::unshare(CLONE_NEWUSER) == 0 && ::write(ready[1], "", 1) == 1;
        ::_exit(made && ::read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    ::close(ready[1]);
    ::close(go[0]);
    char byte = 0;
    const bool taken = ::read(ready[0], &byte, 1) == 1 &&
                       support::spill("/proc/" + std::to_string(pid) + "/uid_map", text_of(lines));
    ::close(ready[0]);
    ::close(go[1]);
    return support::wait_for(pid) == 0 && taken;
}

} // namespace

TEST_CASE("each rule of a map, and the line that breaks it") {
    const std::array cases{
        Case{"no line", {}, Reason::map_empty, ""},
        Case{"no id", {{0, 0, 0}}, Reason::map_zero_count, "line 1 (0 0 0)"},
        Case{"no id later", {{0, 0, 1}, {1, 1, 0}}, Reason::map_zero_count, "line 2 (1 1 0)"},
        Case{"inside past the end",
             {{last_id, 0, 2}},
             Reason::map_overflow,
             "line 1 (4294967294 0 2)"},
        Case{"outside past the end",
             {{0, last_id, 2}},
             Reason::map_overflow,
             "line 1 (0 4294967294 2)"},
        Case{"no change, inside",
             {{0xFFFF'FFFF, 0, 1}},
             Reason::map_overflow,
             "line 1 (4294967295 0 1)"},
        Case{"all and one",
             {{0, 0, 0xFFFF'FFFF}, {0, 0, 1}},
             Reason::map_overlap,
             "line 2 (0 0 1) and line 1"},
        Case{"a sum that wraps to 0",
             {{1, 0, 0xFFFF'FFFF}},
             Reason::map_overflow,
             "line 1 (1 0 4294967295)"},
        Case{"inside shared",
             {{0, 0, 10}, {9, 50, 1}},
             Reason::map_overlap,
             "line 2 (9 50 1) and line 1"},
        Case{"outside shared",
             {{0, 50, 10}, {20, 59, 5}},
             Reason::map_overlap,
             "line 2 (20 59 5) and line 1"},
        Case{"the later one is the lower",
             {{5, 100, 5}, {1, 200, 5}},
             Reason::map_overlap,
             "line 2 (1 200 5) and line 1"},
        Case{"one inside the other",
             {{10, 10, 1}, {20, 20, 1}, {0, 100, 30}},
             Reason::map_overlap,
             "line 3 (0 100 30) and line 1"},
        Case{"the same twice",
             {{0, 0, 1}, {1, 1, 1}, {1, 1, 1}},
             Reason::map_overlap,
             "line 3 (1 1 1) and line 2"},
        Case{"one line too many", many(341), Reason::map_too_long, "341 lines"},
        Case{"far too many", many(100'000), Reason::map_too_long, "100000 lines"},
    };
    for (const Case& one : cases) {
        check_broken(one);
    }
}

TEST_CASE("the last line of a full map is checked as the first") {
    std::vector<IdExtent> lines = many(340);
    lines.back() = lines.front();
    check_broken({"the same", lines, Reason::map_overlap, "line 340 (0 0 1) and line 1"});
    lines.back() = {5000, 5000, 0};
    check_broken({"no id", lines, Reason::map_zero_count, "line 340 (5000 5000 0)"});
}

TEST_CASE("what is just inside the rules") {
    const std::array<std::vector<IdExtent>, 7> good{{
        {{0, 0, 0xFFFF'FFFF}},
        {{last_id, last_id, 1}},
        {{0, 1, last_id}},
        {{0, 10, 10}, {10, 0, 10}},
        {{5, 0, 1}, {4, 1, 1}, {6, 2, 1}},
        {{0, last_id, 1}, {last_id, 0, 1}},
        many(340),
    }};
    for (const std::vector<IdExtent>& lines : good) {
        CAPTURE(lines.size());
        const auto map = IdMap::from(lines);
        REQUIRE(map);
        CHECK(std::equal(lines.begin(), lines.end(), map->extents().begin(), map->extents().end()));
    }
}

TEST_CASE("maps() at the ends of the lines") {
    const IdMap map{{10, 500, 5}, {last_id, 1000, 1}, {0, 2000, 1}};
    for (const std::uint32_t id : {0U, 10U, 14U, last_id}) {
        CAPTURE(id);
        CHECK(map.maps(id));
    }
    // Ids outside are not ids inside.
    for (const std::uint32_t id : {1U, 9U, 15U, 500U, 1000U, last_id - 1, 0xFFFF'FFFFU}) {
        CAPTURE(id);
        CHECK_FALSE(map.maps(id));
    }
    const IdMap all{{0, 0, 0xFFFF'FFFF}};
    CHECK(all.maps(last_id));
    CHECK_FALSE(all.maps(0xFFFF'FFFF));
}

TEST_CASE("a map is a value of its own: it does not see the lines change") {
    std::vector<IdExtent> lines = many(340);
    const auto map = IdMap::from(lines);
    REQUIRE(map);
    IdMap copy = *map;
    IdMap shorter{{7, 7, 7}};
    std::fill(lines.begin(), lines.end(), IdExtent{9, 9, 9});
    CHECK(copy == *map);
    CHECK(map->extents()[339] == IdExtent{678, 1017, 1});
    shorter = copy;
    CHECK(shorter == copy);
    copy = IdMap{{7, 7, 7}};
    CHECK(copy.extents().size() == 1);
    CHECK_FALSE(copy.maps(678));
    CHECK_FALSE(shorter == copy);
    // Shorter ones are equal by what they say, not by what was there before.
    CHECK(copy == IdMap{{7, 7, 7}});
}

TEST_CASE("random maps: the rules say what a naive model says") {
    Generator random;
    int good = 0;
    for (int i = 0; i < 4000; ++i) {
        const std::vector<IdExtent> lines = random.lines(6, 60);
        const Model model{lines};
        const auto map = IdMap::from(lines);
        CAPTURE(text_of(lines));
        REQUIRE(map.has_value() == model.good());
        if (!map) {
            continue;
        }
        ++good;
        for (std::uint32_t id = 0; id < 70; ++id) {
            REQUIRE(map->maps(id) == model.maps(id));
        }
    }
    // Both outcomes came up often enough to mean something.
    CHECK(good > 500);
    CHECK(good < 3500);
}

TEST_CASE("random maps: the kernel takes what the rules allow, and no other") {
    if (::geteuid() != 0) {
        support::skip("the kernel's opinion of maps of any ids needs root");
        return;
    }
    Generator random;
    for (int i = 0; i < 60; ++i) {
        const std::vector<IdExtent> lines = random.lines(4, 40);
        CAPTURE(text_of(lines));
        CHECK(IdMap::from(lines).has_value() == kernel_takes(lines));
    }
    const std::array<std::vector<IdExtent>, 8> edges{{
        {{0, 0, 0xFFFF'FFFF}},
        {{last_id, last_id, 1}},
        {{0xFFFF'FFFF, 0, 1}},
        {{0, 0xFFFF'FFFF, 1}},
        {{1, 0, 0xFFFF'FFFF}},
        {{0, 1, 0xFFFF'FFFF}},
        {{last_id, 0, 2}},
        {{0, last_id, 2}},
    }};
    for (const std::vector<IdExtent>& lines : edges) {
        CAPTURE(text_of(lines));
        CHECK(IdMap::from(lines).has_value() == kernel_takes(lines));
    }
}

TEST_CASE("the kernel takes 340 lines, and not 341") {
    if (::geteuid() != 0) {
        support::skip("a map of many lines needs root");
        return;
    }
    CHECK(kernel_takes(many(340)));
    CHECK_FALSE(kernel_takes(many(341)));
}

TEST_CASE("a new user namespace is compared by its maps and its policy") {
    const nsjoin::NewUser one{.uids = {{0, 1, 1}}, .gids = {{0, 2, 1}}};
    nsjoin::NewUser two = one;
    CHECK(one == two);
    two.setgroups = nsjoin::Setgroups::deny;
    CHECK_FALSE(one == two);
    two = one;
    two.gids = IdMap{{0, 3, 1}};
    CHECK_FALSE(one == two);
}

TEST_CASE(
    "a broken map in the program's text ends the program where the compiler does not see it") {
    // Not constant, so that it is built at run time.
    const auto zero = static_cast<std::uint32_t>(::getpid() < 0 ? 1 : 0);
    CHECK(support::run_in_child([zero] {
              const IdMap map{{0, 0, zero}};
              return map.maps(0) ? 1 : 2;
          }) == 128 + SIGABRT);
}
