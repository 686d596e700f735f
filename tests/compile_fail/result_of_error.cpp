// expect: nsjoin::Error
#include <nsjoin/result.hpp>

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

auto main() -> int {
    return number(false).value_or(0);
}
