// expect: nsjoin: return Unexpected{error}
#include <nsjoin/result.hpp>

#include <type_traits>

[[nodiscard]] auto number(bool good) -> nsjoin::Result<int> {
    if (good) {
        return 3;
    }
    const nsjoin::Error why{nsjoin::Step::read, nsjoin::Reason::system, 5, {}};
#ifdef NSJOIN_REJECT
    return why;
#else
    return nsjoin::Unexpected{why};
#endif
}

static_assert(!std::is_convertible_v<nsjoin::Error, nsjoin::Result<int>>);
static_assert(!std::is_convertible_v<nsjoin::Error, nsjoin::Result<void>>);
static_assert(std::is_convertible_v<nsjoin::Error, nsjoin::Result<nsjoin::Error>>);

auto main() -> int {
    return number(false).value_or(0);
}
