// expect: nsjoin: there is no way back from a user namespace
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto homes() -> bool {
#ifdef NSJOIN_REJECT
    return nsjoin::Home<Kind::net, Kind::user>::open().has_value();
#else
    return nsjoin::Home<Kind::net, Kind::mount>::open().has_value();
#endif
}
