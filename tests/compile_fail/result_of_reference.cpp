// expect: a Result holds an object
#include <nsjoin/result.hpp>

#ifdef NSJOIN_REJECT
using Number = nsjoin::Result<int&>;
#else
using Number = nsjoin::Result<int*>;
#endif

auto main() -> int {
    int three = 3;
#ifdef NSJOIN_REJECT
    return *Number{three};
#else
    return **Number{&three};
#endif
}
