// expect: nodiscard
#include <nsjoin/result.hpp>

[[nodiscard]] auto number() -> nsjoin::Result<int> {
    return 3;
}

auto main() -> int {
#ifdef NSJOIN_REJECT
    number().transform([](int n) { return n; });
#else
    (void)number().transform([](int n) { return n; });
#endif
}
