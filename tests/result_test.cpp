// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/result.hpp>

#include "support.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <type_traits>
#include <utility>
#include <vector>
#if __has_include(<expected>)
#include <expected>
#endif

using nsjoin::Error;
using nsjoin::Reason;
using nsjoin::Result;
using nsjoin::Step;
using nsjoin::Unexpected;

// The contract is that of std::expected<T, Error>.

namespace {

constexpr Error no_pid{Step::open_pidfd, Reason::system, 3, nsjoin::Subject{"pid 7"}};
constexpr Error no_right{Step::set_uid, Reason::system, 1, {}};

constexpr Unexpected failed{no_pid};

// ── Types of values ─────────────────────────────────────────────────────────────────────────────

/// Neither copied nor moved by the compiler alone, and usable in constant expressions.
struct Counter {
    constexpr Counter() noexcept = default;

    constexpr explicit Counter(int start) noexcept : n{start} {}

    constexpr Counter(const Counter& other) noexcept : n{other.n}, copies{other.copies + 1} {}

    constexpr Counter(Counter&& other) noexcept
        : n{std::exchange(other.n, -1)}, copies{other.copies} {}

    constexpr auto operator=(const Counter& other) noexcept -> Counter& {
        if (this != &other) {
            n = other.n;
            copies = other.copies + 1;
        }
        return *this;
    }

    constexpr auto operator=(Counter&& other) noexcept -> Counter& {
        n = std::exchange(other.n, -1);
        copies = other.copies;
        return *this;
    }

    constexpr ~Counter() {} // NOLINT(*-use-equals-default): not trivial

    [[nodiscard]] constexpr auto next() const noexcept -> int { return n + 1; }

    [[nodiscard]] friend constexpr auto operator==(const Counter& a, const Counter& b) noexcept
        -> bool {
        return a.n == b.n;
    }

    int n = 0;
    int copies = 0;
};

struct MoveOnly {
    std::unique_ptr<int> owned;
};

struct NeverMoved {
    NeverMoved() = default;
    NeverMoved(const NeverMoved&) = delete;
    NeverMoved(NeverMoved&&) = delete;
    auto operator=(const NeverMoved&) -> NeverMoved& = delete;
    auto operator=(NeverMoved&&) -> NeverMoved& = delete;

    ~NeverMoved() {} // NOLINT(*-use-equals-default): not trivial
};

struct WithoutDefault {
    constexpr explicit WithoutDefault(int number) noexcept : n{number} {}

    int n;
};

struct NotAssigned {
    std::string text;
    const int n = 0;
};

/// Made from a list of itself, too: braces would take the wrong constructor.
struct Listed {
    Listed() = default;

    Listed(std::initializer_list<Listed> list) : depth{1 + static_cast<int>(list.size())} {}

    int depth = 0;
};

/// Counts those that live.
class Tracer {
  public:
    static inline int living = 0;           // NOLINT(*-non-const-global-variables)
    static inline int until_it_throws = -1; // NOLINT(*-non-const-global-variables)

    explicit Tracer(int number = 0) : n{number} { ++living; }

    Tracer(const Tracer& other) : n{other.n} {
        if (until_it_throws == 0) {
            throw std::runtime_error{"copied too often"};
        }
        --until_it_throws;
        ++living;
    }

    auto operator=(const Tracer& other) -> Tracer& {
        const Tracer copy{other}; // which may throw
        n = copy.n;
        return *this;
    }

    ~Tracer() {
        --living;
        self_ = nullptr;
    }

    /// Whether this is where it was made, and has not ended.
    [[nodiscard]] auto whole() const -> bool { return self_ == this; }

    int n;

  private:
    const Tracer* self_ = this;
};

/// Throws if it is moved, too.
static_assert(!std::is_nothrow_move_constructible_v<Tracer>);

// ── What can be made of what ────────────────────────────────────────────────────────────────────

template <typename T>
concept Plain = std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>;

static_assert(Plain<Result<int>> && Plain<Result<void>> && Plain<Result<Error>>);
static_assert(Plain<Result<WithoutDefault>> && Plain<Result<int*>> && Plain<Result<const int>>);
static_assert(!Plain<Result<std::string>> && !Plain<Result<Counter>> && !Plain<Result<MoveOnly>>);

template <typename T>
concept QuietlyMoved =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>;
template <typename T>
concept QuietlyCopied =
    std::is_nothrow_copy_constructible_v<T> && std::is_nothrow_copy_assignable_v<T>;

static_assert(QuietlyMoved<Result<int>> && QuietlyCopied<Result<int>>);
static_assert(QuietlyMoved<Result<void>> && QuietlyCopied<Result<void>>);
static_assert(QuietlyMoved<Result<Counter>> && QuietlyCopied<Result<Counter>>);
static_assert(QuietlyMoved<Result<std::string>> && !QuietlyCopied<Result<std::string>>);
static_assert(QuietlyMoved<Result<MoveOnly>>);
static_assert(!QuietlyMoved<Result<Tracer>> && !QuietlyCopied<Result<Tracer>>);
static_assert(std::is_nothrow_default_constructible_v<Result<Counter>>);
static_assert(!std::is_nothrow_default_constructible_v<Result<Tracer>>);
static_assert(std::is_nothrow_constructible_v<Result<std::string>, Unexpected>);

static_assert(std::is_copy_constructible_v<Result<std::string>>);
static_assert(!std::is_copy_constructible_v<Result<MoveOnly>>);
static_assert(!std::is_copy_assignable_v<Result<MoveOnly>>);
static_assert(std::is_move_constructible_v<Result<MoveOnly>>);
static_assert(std::is_default_constructible_v<Result<NeverMoved>>);
static_assert(!std::is_move_constructible_v<Result<NeverMoved>>);
static_assert(!std::is_move_assignable_v<Result<NeverMoved>>);
static_assert(!std::is_default_constructible_v<Result<WithoutDefault>>);
static_assert(std::is_copy_constructible_v<Result<NotAssigned>>);
static_assert(!std::is_copy_assignable_v<Result<NotAssigned>>);
static_assert(!std::is_move_assignable_v<Result<NotAssigned>>);

template <typename From, typename To>
inline constexpr bool converts = std::is_convertible_v<From, To>;
template <typename From, typename To>
inline constexpr bool only_explicit = !converts<From, To> && std::is_constructible_v<To, From>;
template <typename From, typename To>
inline constexpr bool is_none = !std::is_constructible_v<To, From>;

static_assert(converts<int, Result<int>> && converts<short, Result<int>>);
static_assert(converts<const char*, Result<std::string>>);
static_assert(converts<std::unique_ptr<int>, Result<std::unique_ptr<int>>>);
static_assert(only_explicit<int, Result<WithoutDefault>> && only_explicit<int, Result<Counter>>);
static_assert(only_explicit<int*, Result<std::unique_ptr<int>>>);
static_assert(is_none<std::string, Result<int>> && is_none<int, Result<std::string>>);
static_assert(converts<Unexpected, Result<int>> && converts<Unexpected, Result<void>>);
static_assert(is_none<Error, Result<int>> && is_none<Error, Result<std::string>>);
static_assert(is_none<Error, Result<void>> && is_none<int, Result<void>>);
static_assert(only_explicit<Error, Unexpected> && is_none<int, Unexpected>);
static_assert(is_none<Step, Unexpected> && is_none<Result<int>, Unexpected>);
static_assert(is_none<Result<int>, Result<long>> && is_none<Result<int>, Result<void>>);
static_assert(is_none<Result<int>, Result<bool>>);
static_assert(only_explicit<Result<int>, bool> && only_explicit<Result<void>, bool>);
static_assert(is_none<Result<int>, int> && is_none<Result<std::string>, std::string>);

template <typename R, typename Value, typename Reference>
constexpr bool has_types =
    std::is_same_v<typename R::value_type, Value>&& std::is_same_v<typename R::error_type, Error>&&
        std::is_same_v<typename R::unexpected_type, Unexpected>&&
            std::is_same_v<decltype(std::declval<R&>().value()), Reference>;

static_assert(has_types<Result<int>, int, int&> && has_types<Result<void>, void, void>);
static_assert(has_types<Result<const int>, const int, const int&>);
static_assert(std::is_same_v<decltype(*std::declval<Result<int>>()), int&&>);
static_assert(std::is_same_v<decltype(*std::declval<const Result<int>&>()), const int&>);
static_assert(std::is_same_v<decltype(std::declval<Result<int>>().error()), Error&&>);
static_assert(std::is_same_v<decltype(std::declval<const Result<int>&>().error()), const Error&>);

// ── In constant expressions ─────────────────────────────────────────────────────────────────────

template <typename T>
[[nodiscard]] constexpr auto reads(const T& value) -> bool {
    Result<T> good{value};
    const Result<T> copy = good;
    const Result<T> moved = std::move(good);
    const Result<T> bad = failed;
    return copy.has_value() && copy && *copy == value && copy.value() == value && copy == moved &&
           copy == value && !bad && !bad.has_value() && bad.error() == no_pid && bad == failed &&
           !(bad == copy) && !(copy == failed) && !(bad == value) && bad == Result<T>{failed} &&
           !(bad == Result<T>{Unexpected{no_right}});
}

static_assert(reads(7) && reads(Counter{7}) && reads(nsjoin::Subject{"seven"}));

template <typename T>
[[nodiscard]] constexpr auto assigns(const T& one, const T& other) -> bool {
    Result<T> r{one};
    r = Result<T>{other}; // a value over a value
    bool good = r == other;
    r = failed; // an error over a value
    good = good && r == failed;
    r = Unexpected{no_right}; // an error over an error
    good = good && r == Unexpected{no_right};
    const Result<T> kept{one};
    r = kept; // a value over an error
    good = good && r == one;
    r = other;
    return good && r == other && kept == one;
}

static_assert(assigns(1, 2) && assigns(Counter{1}, Counter{2}));

[[nodiscard]] constexpr auto assigns_void() -> bool {
    Result<void> r;
    bool good = r && r.has_value();
    r.value();
    *r;
    r = failed;
    good = good && !r && r == failed && r.error() == no_pid;
    r.error().code = 5;
    good = good && r.error().code == 5 && !(r == failed);
    r = Result<void>{};
    return good && r && r == Result<void>{};
}

static_assert(assigns_void());

[[nodiscard]] constexpr auto changes_in_place() -> bool {
    Result<Counter> r{Counter{1}};
    r->n = 2;
    (*r).n += 3;
    r.value().n += 4;
    const Result<Counter>& same = r;
    const Counter taken = *std::move(r);
    Result<Counter> bad = failed;
    bad.error().code = 9;
    return taken.n == 9 && taken.copies == 0 && same->n == -1 && bad.error().code == 9 &&
           std::move(bad).error().code == 9;
}

static_assert(changes_in_place());

[[nodiscard]] constexpr auto values_or() -> bool {
    const Result<Counter> good{Counter{1}};
    const Result<Counter> bad = failed;
    return good.value_or(Counter{2}).n == 1 && bad.value_or(Counter{2}).n == 2 &&
           Result<Counter>{Counter{1}}.value_or(2).copies == 0 &&
           Result<Counter>{failed}.value_or(2).n == 2;
}

static_assert(values_or());

/// Takes the value as it comes, and tells how.
struct HowTaken {
    constexpr auto operator()(Counter& /*value*/) const -> Result<int> { return 1; }

    constexpr auto operator()(const Counter& /*value*/) const -> Result<int> { return 2; }

    constexpr auto operator()(Counter&& /*value*/) const -> Result<int> { return 3; }
};

[[nodiscard]] constexpr auto chains() -> bool {
    Result<Counter> good{Counter{1}};
    const Result<Counter>& as_const = good;
    Result<Counter> bad = failed;
    const Result<Counter>& bad_const = bad;
    return good.and_then(HowTaken{}) == 1 && as_const.and_then(HowTaken{}) == 2 &&
           Result<Counter>{Counter{1}}.and_then(HowTaken{}) == 3 &&
           bad.and_then(HowTaken{}) == failed && bad_const.and_then(HowTaken{}) == failed &&
           Result<Counter>{failed}.and_then(HowTaken{}) == failed;
}

static_assert(chains());

[[nodiscard]] constexpr auto transforms() -> bool {
    const auto half = [](const Counter& counter) {
        return counter.n / 2;
    };
    const auto worse = [](Error error) {
        error.code = 22;
        return error;
    };
    Result<Counter> good{Counter{8}};
    const Result<Counter>& as_const = good;
    const Result<Counter> bad = failed;
    int calls = 0;
    const Result<void> counted = good.transform([&calls](const Counter&) { ++calls; });
    const Result<void> skipped = bad.transform([&calls](const Counter&) { ++calls; });
    return good.transform(half) == 4 && as_const.transform(half) == 4 &&
           Result<Counter>{Counter{8}}.transform(half) == 4 && bad.transform(half) == failed &&
           counted && skipped == failed && calls == 1 && good.transform(&Counter::next) == 9 &&
           as_const.transform(&Counter::n) == 8 && good.transform_error(worse) == Counter{8} &&
           bad.transform_error(worse).error().code == 22 &&
           Result<Counter>{failed}.transform_error(worse).error().code == 22 &&
           Result<Counter>{Counter{8}}.transform_error(worse)->copies == 0;
}

static_assert(transforms());

[[nodiscard]] constexpr auto mends() -> bool {
    const auto to_five = [](const Error&) -> Result<Counter> {
        return Result<Counter>{Counter{5}};
    };
    const auto to_other = [](const Error& error) {
        return error == no_pid ? Result<Counter>{Unexpected{no_right}} : Result<Counter>{failed};
    };
    const Result<Counter> good{Counter{8}};
    const Result<Counter> bad = failed;
    return good.or_else(to_five) == Counter{8} && bad.or_else(to_five) == Counter{5} &&
           bad.or_else(to_other) == Unexpected{no_right} &&
           Result<Counter>{Counter{8}}.or_else(to_five)->copies == 0 &&
           Result<Counter>{failed}.or_else(to_five) == Counter{5};
}

static_assert(mends());

[[nodiscard]] constexpr auto chains_of_nothing() -> bool {
    const auto seven = [] {
        return Result<int>{7};
    };
    const Result<void> good;
    const Result<void> bad = failed;
    int calls = 0;
    const auto count = [&calls] {
        ++calls;
    };
    return good.and_then(seven) == 7 && bad.and_then(seven) == failed &&
           good.transform([] { return 8; }) == 8 && bad.transform([] { return 8; }) == failed &&
           good.transform(count) && !bad.transform(count) && calls == 1 &&
           bad.or_else([](const Error&) { return Result<void>{}; }) &&
           good.or_else([](const Error&) -> Result<void> { return failed; }) &&
           bad.transform_error([](const Error&) { return no_right; }) == Unexpected{no_right};
}

static_assert(chains_of_nothing());

static_assert(*Result<const int>{5} == 5);
static_assert(Result<WithoutDefault> { 5 } -> n == 5);
static_assert(Result<int>{} == 0 && Result<Counter>{} == Counter{});

} // namespace

// ── Values that own something ───────────────────────────────────────────────────────────────────

TEST_CASE("a value is ended once: made, copied, moved and assigned over, in all combinations") {
    REQUIRE(Tracer::living == 0);
    for (const bool to_value : {true, false}) {
        for (const bool from_value : {true, false}) {
            const auto make = [](bool value, int n) {
                return value ? Result<Tracer>{Tracer{n}} : Result<Tracer>{failed};
            };
            Result<Tracer> to = make(to_value, 1);
            Result<Tracer> from = make(from_value, 2);
            to = from;
            CHECK(to.has_value() == from_value);
            CHECK(from.has_value() == from_value);
            CHECK(Tracer::living == (from_value ? 2 : 0));
            to = make(to_value, 3);
            to = std::move(from);
            CHECK(to.has_value() == from_value);
            if (to) {
                CHECK(to->n == 2);
                CHECK(to->whole());
            } else {
                CHECK(to.error() == no_pid);
            }
            const Result<Tracer> copy = to;
            const Result<Tracer> moved = std::move(to);
            CHECK(copy.has_value() == from_value);
            CHECK(moved.has_value() == from_value);
        }
    }
    CHECK(Tracer::living == 0);
}

TEST_CASE("a Result is assigned to itself, and swapped") {
    Result<std::string> good{
        "a text that is too long for the object itself, so that it is allocated"};
    const std::string text = *good;
    const Result<std::string>& same = good;
    good = same;
    CHECK(good == text);
    Result<std::string> bad = failed;
    const Result<std::string>& as_bad = bad;
    bad = as_bad;
    CHECK(bad == failed);
    std::swap(good, bad);
    CHECK(bad == text);
    CHECK(good == failed);
}

namespace {

struct Node {
    std::string name;
    std::unique_ptr<Result<Node>> next;
};

auto list_of(Result<Node> last) -> Result<Node> {
    return Node{"the first, with a name that is allocated, as it is long",
                std::make_unique<Result<Node>>(std::move(last))};
}

} // namespace

TEST_CASE("a Result is assigned what its own value owns") {
    Result<Node> list = list_of(Node{"the last, with a name that is allocated, as it is long", {}});
    list = std::move(*list->next);
    CHECK(list->name.substr(0, 8) == "the last");
    Result<Node> broken = list_of(failed);
    broken = std::move(*broken->next);
    CHECK(broken.error() == no_pid);
}

TEST_CASE("a copy that throws leaves a Result whole, and lets nothing out") {
    REQUIRE(Tracer::living == 0);
    {
        const Result<Tracer> from{Tracer{2}};
        for (const bool to_value : {true, false}) {
            Result<Tracer> to = to_value ? Result<Tracer>{Tracer{1}} : Result<Tracer>{failed};
            for (const bool moves : {true, false}) {
                Result<Tracer> source = from;
                Tracer::until_it_throws = 0;
                if (moves) {
                    CHECK_THROWS_AS(to = std::move(source), std::runtime_error);
                } else {
                    CHECK_THROWS_AS(to = source, std::runtime_error);
                }
                CHECK_THROWS_AS((void)Result<Tracer>{from}, std::runtime_error);
                Tracer::until_it_throws = -1;
                REQUIRE(to.has_value() == to_value);
                if (to_value) {
                    CHECK(to->n == 1);
                    CHECK(to->whole());
                } else {
                    CHECK(to.error() == no_pid);
                }
            }
        }
    }
    CHECK(Tracer::living == 0);
}

TEST_CASE("values that are only moved, that are const, and that take lists of themselves") {
    Result<MoveOnly> one{MoveOnly{std::make_unique<int>(7)}};
    Result<MoveOnly> other = std::move(one);
    CHECK(*other->owned == 7);
    const MoveOnly taken = *std::move(other);
    CHECK(*taken.owned == 7);
    CHECK(other->owned == nullptr); // NOLINT(bugprone-use-after-move): it still holds a value
    CHECK(*Result<std::unique_ptr<int>>{std::make_unique<int>(5)}.transform(
              [](std::unique_ptr<int> owned) { return *owned; }) == 5);
    const Result<const std::string> fixed{"fixed"};
    const Result<const std::string> copy = fixed;
    CHECK(*copy == "fixed");
    const Result<Listed> listed{Listed{}};
    CHECK(listed->depth == 0);
    CHECK(Result<std::vector<int>> { std::vector<int>(3, 1) } -> size() == 3);
    Result<NeverMoved> still;
    CHECK(still);
}

// ── Broken preconditions ────────────────────────────────────────────────────────────────────────

namespace {

/// What `body` writes to standard error before it ends by SIGABRT; else nothing.
template <typename Body>
auto last_words(Body body) -> std::string {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    const int code = support::run_in_child([&] {
        const rlimit no_core{};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(ends[1], STDERR_FILENO);
        body();
        return 0;
    });
    ::close(ends[1]);
    std::string text(200, '\0');
    const ssize_t length = ::read(ends[0], text.data(), text.size());
    ::close(ends[0]);
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return code == 128 + SIGABRT ? text : "";
}

/// What the last words say of an error.
auto told_of(const nsjoin::Error& error) -> std::string {
    std::string text{nsjoin::facts(error.step).name};
    text += error.subject.view().empty() ? "" : ": " + std::string{error.subject.view()};
    return text + (error.code == 0 ? "" : ": errno " + std::to_string(error.code));
}

} // namespace

TEST_CASE("a value that is not there, or an error, ends the program, and it says why") {
    const std::string no_value = "nsjoin: the value of a Result was taken that holds an error, "
                                 "look with has_value() first: " +
                                 told_of(no_pid) + "\n";
    const std::string no_error = "nsjoin: the error of a Result was taken that holds a value: "
                                 "look with has_value() first\n";
    Result<Counter> good{Counter{1}};
    Result<Counter> bad = failed;
    const Result<Counter>& const_good = good;
    const Result<Counter>& const_bad = bad;
    Result<void> done;
    const Result<void>& const_done = done;
    const Result<void> not_done = failed;
    CHECK(last_words([&] { (void)bad.value(); }) == no_value);
    CHECK(last_words([&] { (void)const_bad.value(); }) == no_value);
    CHECK(last_words([&] { (void)std::move(bad).value(); }) == no_value);
    CHECK(last_words([&] { (void)*bad; }) == no_value);
    CHECK(last_words([&] { (void)*const_bad; }) == no_value);
    CHECK(last_words([&] { (void)*std::move(bad); }) == no_value);
    CHECK(last_words([&] { (void)bad->n; }) == no_value);
    CHECK(last_words([&] { (void)const_bad->n; }) == no_value);
    CHECK(last_words([&] { (void)good.error(); }) == no_error);
    CHECK(last_words([&] { (void)const_good.error(); }) == no_error);
    CHECK(last_words([&] { (void)std::move(good).error(); }) == no_error);
    CHECK(last_words([&] { not_done.value(); }) == no_value);
    CHECK(last_words([&] { *not_done; }) == no_value);
    CHECK(last_words([&] { (void)done.error(); }) == no_error);
    CHECK(last_words([&] { (void)const_done.error(); }) == no_error);
    CHECK(last_words([&] { (void)*good; }).empty());
}

// ── std::expected ───────────────────────────────────────────────────────────────────────────────

namespace {

struct UnexpectedOf {
    explicit UnexpectedOf(const Error& why) : held{why} {}

    Error held;
};

// NOLINTBEGIN(*-identifier-naming,*-explicit-*): as in the standard library

/// As much of std::expected<T, Error> as tells one: for libraries that have none.
template <typename T>
class ExpectedOf {
  public:
    using value_type = T;
    using error_type = Error;
    using unexpected_type = UnexpectedOf;

    ExpectedOf(T value) : value_{std::move(value)} {}

    ExpectedOf(UnexpectedOf why) : error_{why.held}, holds_{false} {}

    [[nodiscard]] auto has_value() const -> bool { return holds_; }

    [[nodiscard]] auto operator*() & -> T& { return value_; }

    [[nodiscard]] auto error() const -> const Error& { return error_; }

  private:
    T value_{};
    Error error_;
    bool holds_ = true;
};

template <>
class ExpectedOf<void> {
  public:
    using value_type = void;
    using error_type = Error;
    using unexpected_type = UnexpectedOf;

    ExpectedOf() = default;

    ExpectedOf(UnexpectedOf why) : error_{why.held}, holds_{false} {}

    [[nodiscard]] auto has_value() const -> bool { return holds_; }

    [[nodiscard]] auto error() const -> const Error& { return error_; }

  private:
    Error error_;
    bool holds_ = true;
};

// NOLINTEND(*-identifier-naming,*-explicit-*)

/// There and back, with values and errors. `Expected` is a template of the value's type.
template <template <typename> typename Expected>
void converts_both_ways() {
    const Result<std::string> good{"a text that is too long for the object itself"};
    const Result<std::string> bad = failed;
    Expected<std::string> value = good;
    CHECK(value.has_value());
    CHECK(*value == *good);
    const Expected<std::string> error = bad;
    CHECK(!error.has_value());
    CHECK(error.error() == no_pid);
    const Result<std::string> back = value;
    CHECK(back == good);
    const Result<std::string> error_back = error;
    CHECK(error_back == failed);
    Expected<std::unique_ptr<int>> owned = Result<std::unique_ptr<int>>{std::make_unique<int>(5)};
    CHECK(**owned == 5);
    const Result<std::unique_ptr<int>> owned_back = std::move(owned);
    CHECK(**owned_back == 5);
    const Expected<void> done = Result<void>{};
    CHECK(done.has_value());
    const Expected<void> not_done = Result<void>{failed};
    CHECK(not_done.error() == no_pid);
    CHECK(Result<void>{done} == Result<void>{});
    CHECK(Result<void>{not_done} == failed);
    static_assert(!std::is_convertible_v<Result<int>, Expected<void>>);
    static_assert(!std::is_convertible_v<Expected<std::string>, Result<int>>);
}

#if defined(__cpp_lib_expected)
template <typename T>
using StdExpected = std::expected<T, Error>;
#endif

} // namespace

TEST_CASE("a Result converts to what has the shape of std::expected, and back") {
    converts_both_ways<ExpectedOf>();
}

#if defined(__cpp_lib_expected)
TEST_CASE("a Result converts to std::expected, and back") {
    converts_both_ways<StdExpected>();
}
#endif
