// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_TABLE_HPP
#define NSJOIN_TESTS_FAULTS_TABLE_HPP

#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

// What a sweep came to, as a page has it.

namespace faults {

struct Row {
    std::string name;
    std::size_t calls = 0;
    std::size_t injections = 0;
    std::size_t kills = 0;
    std::size_t missed = 0;
    std::size_t violations = 0;
};

inline auto line_of(const Row& row) -> std::string {
    std::string line = "| " + row.name;
    for (const std::size_t number :
         {row.calls, row.injections, row.kills, row.missed, row.violations}) {
        line += " | " + std::to_string(number);
    }
    return line + " |\n";
}

inline auto table_of(const std::vector<Row>& rows, std::size_t every) -> std::string {
    Row all{"**" + std::to_string(rows.size()) + " scenarios**"};
    std::string text = every == 1
                           ? "Of all disturbances, each one:\n\n"
                           : "Of all disturbances, one of " + std::to_string(every) + ":\n\n";
    text += "| scenario | calls | injections | of them kills | not reached | violations |\n"
            "| --- | --: | --: | --: | --: | --: |\n";
    for (const Row& row : rows) {
        text += line_of(row);
        all.calls += row.calls;
        all.injections += row.injections;
        all.kills += row.kills;
        all.missed += row.missed;
        all.violations += row.violations;
    }
    return text + line_of(all);
}

/// Puts the table between the two marks of the page. False if there are none.
inline auto write_table(const std::string& path, const std::vector<Row>& rows, std::size_t every)
    -> bool {
    constexpr std::string_view begin = "<!-- faults -->\n";
    constexpr std::string_view end = "<!-- /faults -->";
    std::ifstream file{path};
    std::string page{std::istreambuf_iterator<char>{file}, {}};
    const std::size_t first = page.find(begin);
    const std::size_t last = page.find(end);
    if (first == std::string::npos || last == std::string::npos) {
        return false;
    }
    const std::size_t from = first + begin.size();
    page.replace(from, last - from, table_of(rows, every));
    return static_cast<bool>(std::ofstream{path} << page);
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_TABLE_HPP
