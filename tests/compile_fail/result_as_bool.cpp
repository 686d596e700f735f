// expect: bool
#include <nsjoin/result.hpp>

[[nodiscard]] auto remove() -> nsjoin::Result<void> {
    return {};
}

/// A Result is tested, not a truth value to be handed on.
[[nodiscard]] auto removed() -> bool {
#ifdef NSJOIN_REJECT
    return remove();
#else
    return remove().has_value();
#endif
}

auto main() -> int {
    return removed() ? 0 : 1;
}
