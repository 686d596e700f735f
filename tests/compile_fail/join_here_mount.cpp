// expect: nsjoin: a thread can't join and leave a user, mount, pid or time namespace by itself
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto homes() -> bool {
#ifdef NSJOIN_REJECT
    return nsjoin::Home<Kind::net, Kind::mount>::open().has_value();
#else
    return nsjoin::Home<Kind::net, Kind::uts>::open().has_value();
#endif
}
