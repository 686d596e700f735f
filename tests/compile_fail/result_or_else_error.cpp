// expect: or_else() takes a function that returns a Result of the same type
#include <nsjoin/result.hpp>

[[nodiscard]] auto blame(nsjoin::Result<int> number) -> nsjoin::Result<int> {
    const auto as_read = [](nsjoin::Error error) {
        error.step = nsjoin::Step::read;
        return error;
    };
#ifdef NSJOIN_REJECT
    return std::move(number).or_else(as_read);
#else
    return std::move(number).transform_error(as_read);
#endif
}

auto main() -> int {
    return blame(3).value_or(0);
}
