// SPDX-License-Identifier: Apache-2.0
// The id maps that --map-user, --map-users and their twins for groups ask for.
#ifndef EXAMPLES_SUPPORT_ID_RANGES_HPP
#define EXAMPLES_SUPPORT_ID_RANGES_HPP

#include "options.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/id_map.hpp>
#include <nsjoin/subordinate_ids.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

namespace examples {

/// A line that says why there is no value.
struct Why {
    std::string line;
};

/// A value, or why there is none.
template <typename T>
using OrWhy = std::variant<T, Why>;

/// What one --map-users or --map-groups asks for.
struct IdBlock {
    enum class From : std::uint8_t {
        numbers,   ///< the extent
        automatic, ///< the user's first range of subordinate ids, inside from 0 on
        subids,    ///< the same, with the same numbers inside
        all,       ///< all ids that there are, with the same numbers inside
    };

    From from = From::numbers;
    nsjoin::IdExtent extent{};
};

/// The files of one of the two sorts of ids.
struct IdSort {
    const char* option;                                                   ///< of a single id
    const char* block_option;                                             ///< of a block
    auto(*subordinate)() -> nsjoin::Result<std::vector<nsjoin::IdRange>>; ///< subuid(5)
    const char* own_map;
};

inline constexpr IdSort uid_sort{"--map-user", "--map-users",
                                 [] { return nsjoin::subordinate_uids(); }, "/proc/self/uid_map"};
inline constexpr IdSort gid_sort{"--map-group", "--map-groups",
                                 [] { return nsjoin::subordinate_gids(); }, "/proc/self/gid_map"};

/// A decimal number of 32 bits.
[[nodiscard]] inline auto parse_word(std::string_view text) -> std::optional<std::uint32_t> {
    const auto number = parse_number(text, UINT32_MAX);
    return number ? std::optional{static_cast<std::uint32_t>(*number)} : std::nullopt;
}

[[nodiscard]] inline auto split(std::string_view text, char separator)
    -> std::vector<std::string_view> {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) {
            return parts;
        }
        text.remove_prefix(end + 1);
    }
}

/// INSIDE:OUTSIDE:COUNT, the older OUTSIDE,INSIDE,COUNT, or a word.
[[nodiscard]] inline auto parse_block(const IdSort& sort, std::string_view text) -> OrWhy<IdBlock> {
    constexpr std::array<std::pair<std::string_view, IdBlock::From>, 3> words{
        {{"auto", IdBlock::From::automatic},
         {"subids", IdBlock::From::subids},
         {"all", IdBlock::From::all}}};
    for (const auto& [word, from] : words) {
        if (text == word) {
            return IdBlock{from, {}};
        }
    }
    const bool old = text.find(',') != std::string_view::npos;
    const auto parts = split(text, old ? ',' : ':');
    std::vector<std::uint32_t> numbers;
    for (const std::string_view part : parts) {
        if (const auto number = parse_word(part)) {
            numbers.push_back(*number);
        }
    }
    if (parts.size() != 3 || numbers.size() != 3) {
        return Why{std::string{sort.block_option} + "=" + std::string{text} +
                   ": give INSIDE:OUTSIDE:COUNT (three numbers), auto, subids or all"};
    }
    return IdBlock{IdBlock::From::numbers,
                   old ? nsjoin::IdExtent{numbers[1], numbers[0], numbers[2]}
                       : nsjoin::IdExtent{numbers[0], numbers[1], numbers[2]}};
}

/// The caller's first range of subordinate ids.
[[nodiscard]] inline auto subordinate_range(const IdSort& sort) -> OrWhy<nsjoin::IdExtent> {
    const auto ranges = sort.subordinate();
    if (!ranges) {
        return Why{nsjoin::explain(ranges.error())};
    }
    return nsjoin::IdExtent{0, ranges->front().first, ranges->front().count};
}

/// All ids of the caller's user namespace, mapped to themselves.
[[nodiscard]] inline auto all_ids(const char* path) -> OrWhy<std::vector<nsjoin::IdExtent>> {
    std::vector<nsjoin::IdExtent> extents;
    std::ifstream file{path};
    for (std::uint32_t inside = 0, outside = 0, count = 0; file >> inside >> outside >> count;) {
        extents.push_back({inside, inside, count});
    }
    if (extents.empty()) {
        return Why{std::string{path} + ": the caller has no ids to map"};
    }
    return extents;
}

/// The extents that a block stands for.
[[nodiscard]] inline auto extents_of(const IdSort& sort, const IdBlock& block)
    -> OrWhy<std::vector<nsjoin::IdExtent>> {
    if (block.from == IdBlock::From::numbers) {
        return std::vector{block.extent};
    }
    if (block.from == IdBlock::From::all) {
        return all_ids(sort.own_map);
    }
    auto found = subordinate_range(sort);
    auto* const range = std::get_if<nsjoin::IdExtent>(&found);
    if (range == nullptr) {
        return std::get<Why>(std::move(found));
    }
    if (block.from == IdBlock::From::subids) {
        range->inside = range->outside;
    }
    return std::vector{*range};
}

/// Ids one after the other.
struct IdRun {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

/// The run without one id: at most two runs.
[[nodiscard]] inline auto without(IdRun run, std::uint32_t id) -> std::vector<IdRun> {
    if (id < run.first || id >= run.first + run.count) {
        return {run};
    }
    const IdRun low{run.first, id - run.first};
    const IdRun high{std::uint64_t{id} + 1, run.count - low.count - 1};
    std::vector<IdRun> rest{low, high};
    std::erase_if(rest, [](IdRun part) { return part.count == 0; });
    return rest;
}

/// What is left of a block beside an id that is mapped by itself. Neither its number inside nor the
/// one outside can be mapped twice, so they are left out, and the others move up: the n-th id that
/// is left inside stands for the n-th outside. If there are more on one side, its last are not
/// mapped; a block that has `spare` goes on by one number inside, so that none outside is left
/// over.
[[nodiscard]] inline auto make_room(const nsjoin::IdExtent& block, const nsjoin::IdExtent& single,
                                    bool spare) -> std::vector<nsjoin::IdExtent> {
    const auto inside =
        without({block.inside, std::uint64_t{block.count} + (spare ? 1 : 0)}, single.inside);
    const auto outside = without({block.outside, block.count}, single.outside);
    std::vector<nsjoin::IdExtent> extents;
    auto in = inside.begin();
    auto out = outside.begin();
    for (std::uint64_t in_used = 0, out_used = 0; in != inside.end() && out != outside.end();) {
        const std::uint64_t count = std::min(in->count - in_used, out->count - out_used);
        extents.push_back({static_cast<std::uint32_t>(in->first + in_used),
                           static_cast<std::uint32_t>(out->first + out_used),
                           static_cast<std::uint32_t>(count)});
        in_used += count;
        out_used += count;
        if (in_used == in->count) {
            ++in;
            in_used = 0;
        }
        if (out_used == out->count) {
            ++out;
            out_used = 0;
        }
    }
    return extents;
}

/// The whole map: the single id first, then the blocks around it.
[[nodiscard]] inline auto make_extents(const IdSort& sort,
                                       const std::optional<nsjoin::IdExtent>& single,
                                       const std::vector<IdBlock>& blocks)
    -> OrWhy<std::vector<nsjoin::IdExtent>> {
    std::vector<nsjoin::IdExtent> map;
    if (single) {
        map.push_back(*single);
    }
    for (const IdBlock& block : blocks) {
        const auto extents = extents_of(sort, block);
        if (std::holds_alternative<Why>(extents)) {
            return extents;
        }
        for (const nsjoin::IdExtent& extent : std::get<0>(extents)) {
            if (const auto whole = nsjoin::IdMap::from(std::span{&extent, 1}); !whole) {
                return Why{std::string{sort.block_option} + ": " + nsjoin::explain(whole.error())};
            }
            const bool spare = block.from == IdBlock::From::automatic;
            const auto rest = single ? make_room(extent, *single, spare) : std::vector{extent};
            map.insert(map.end(), rest.begin(), rest.end());
        }
    }
    return map;
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_ID_RANGES_HPP
