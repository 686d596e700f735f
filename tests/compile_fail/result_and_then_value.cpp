// expect: and_then() takes a function that returns a Result
#include <nsjoin/result.hpp>

[[nodiscard]] auto twice(const nsjoin::Result<int>& number) {
#ifdef NSJOIN_REJECT
    return number.and_then([](int n) { return 2 * n; });
#else
    return number.transform([](int n) { return 2 * n; });
#endif
}

auto main() -> int {
    return twice(3).value_or(0);
}
