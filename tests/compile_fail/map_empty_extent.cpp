// expect: id_map_is_empty_or_has_an_empty_overlapping_or_overflowing_extent
#include <nsjoin/id_map.hpp>

[[maybe_unused]] auto use() -> bool {
#ifdef NSJOIN_REJECT
    constexpr nsjoin::IdMap map{{0, 0, 0}};
    return map.maps(0);
#else
    constexpr nsjoin::IdMap map{{0, 0, 1}};
    return map.maps(0);
#endif
}
