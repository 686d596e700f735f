// expect: transform() takes a function that returns a value
#include <nsjoin/result.hpp>

[[nodiscard]] auto twice(int number) -> nsjoin::Result<int> {
    return 2 * number;
}

auto main() -> int {
    const nsjoin::Result<int> three{3};
#ifdef NSJOIN_REJECT
    return three.transform(twice).has_value() ? 0 : 1;
#else
    return three.and_then(twice).has_value() ? 0 : 1;
#endif
}
