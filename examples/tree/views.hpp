// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXAMPLES_TREE_VIEWS_HPP
#define NSJOIN_EXAMPLES_TREE_VIEWS_HPP

#include "machine.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A machine's namespaces as text, JSON and a picture.

namespace tree {

/// A namespace in its place: under its owner, a pid namespace under its parent where the two have
/// one owner.
struct Row {
    const Namespace* space = nullptr;
    std::vector<bool> last; ///< of each level, whether it is the last one there
};

/// The tree from above to below.
class Rows {
  public:
    explicit Rows(const Machine& machine) : machine_{machine} {
        for (const auto& [number, space] : machine.spaces) {
            below_[above(space)].push_back(&space);
        }
        add_below(0);
    }

    [[nodiscard]] auto all() && -> std::vector<Row> { return std::move(rows_); }

  private:
    /// What it hangs under; 0 for what hangs under nothing that is seen.
    [[nodiscard]] auto above(const Namespace& space) const -> Number {
        const auto parent = machine_.spaces.find(space.parent);
        const bool nests = parent != machine_.spaces.end() && parent->second.owner == space.owner;
        const Number number = nests ? space.parent : space.owner;
        return machine_.spaces.contains(number) ? number : 0;
    }

    // NOLINTNEXTLINE(misc-no-recursion): namespaces nest 32 deep at most
    void add_below(Number number) {
        auto& list = below_[number];
        // What is owned before who owns others.
        std::stable_sort(list.begin(), list.end(), [](const Namespace* a, const Namespace* b) {
            return (a->kind == Kind::user) < (b->kind == Kind::user);
        });
        for (const Namespace* const space : list) {
            if (number != 0) {
                path_.push_back(space == list.back());
            }
            rows_.push_back({space, path_});
            add_below(space->number);
            if (number != 0) {
                path_.pop_back();
            }
        }
    }

    const Machine& machine_;
    std::map<Number, std::vector<const Namespace*>> below_;
    std::vector<bool> path_;
    std::vector<Row> rows_;
};

inline auto name_of(const Namespace& space) -> std::string {
    return std::string{nsjoin::facts(space.kind).name} + ":[" + std::to_string(space.number) + "]";
}

/// What a process says of itself, without what is no text, or would be a terminal's to obey.
inline auto printable(std::string text) -> std::string {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c >= 0x7f; }, '?');
    return text;
}

/// What is to be said of it besides its name.
inline auto told(const Namespace& space) -> std::string {
    std::string text;
    if (const pid_t pid = first_of(space); pid != 0) {
        const auto uid = uid_of(pid);
        text = std::to_string(space.processes.size()) +
               (space.processes.size() == 1 ? " process, pid " : " processes, pid ") +
               std::to_string(pid) + " " + (uid ? "uid " + std::to_string(*uid) + " " : "") +
               printable(command_of(pid));
    } else {
        text = space.pins.empty() ? "no process" : "no process, kept by";
    }
    const std::size_t shown = space.processes.empty() ? std::size_t{3} : 0;
    for (std::size_t i = 0; i < space.pins.size() && i < shown; ++i) {
        text += " " + printable(space.pins[i]);
    }
    return space.pins.size() > shown && shown != 0 ? text + " …" : text;
}

[[nodiscard]] inline auto as_text(const Machine& machine) -> std::string {
    std::string text;
    for (const Row& row : Rows{machine}.all()) {
        std::string line;
        for (std::size_t i = 0; i < row.last.size(); ++i) {
            const bool end = i + 1 == row.last.size();
            line += row.last[i] ? (end ? "└─" : "  ") : (end ? "├─" : "│ ");
        }
        const std::size_t width = 2 * row.last.size();
        line += name_of(*row.space);
        const std::size_t used = width + name_of(*row.space).size();
        text += line + std::string(used < 32 ? 32 - used : 1, ' ') + told(*row.space) + "\n";
    }
    return text;
}

/// A text as JSON has it; what is no UTF-8 is shown as '?'.
inline auto json_text(std::string_view text) -> std::string {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else {
            result += c >= ' ' && c < 0x7f ? c : '?';
        }
    }
    return result + "\"";
}

[[nodiscard]] inline auto as_json(const Machine& machine) -> std::string {
    std::string text = "{\n   \"namespaces\": [";
    const char* comma = "";
    for (const auto& [number, space] : machine.spaces) {
        const pid_t pid = first_of(space);
        const auto uid = pid != 0 ? uid_of(pid) : std::nullopt;
        text += std::string{comma} + "\n      {\"ns\": " + std::to_string(number) +
                ", \"type\": " + json_text(nsjoin::facts(space.kind).name) +
                ", \"nprocs\": " + std::to_string(space.processes.size()) +
                ", \"pid\": " + (pid != 0 ? std::to_string(pid) : "null") +
                ", \"uid\": " + (uid ? std::to_string(*uid) : "null") +
                ", \"command\": " + (pid != 0 ? json_text(command_of(pid)) : "null") +
                ", \"owner\": " + (space.owner != 0 ? std::to_string(space.owner) : "null") +
                ", \"parent\": " + (space.parent != 0 ? std::to_string(space.parent) : "null") +
                ", \"pins\": [";
        for (std::size_t i = 0; i < space.pins.size(); ++i) {
            text += (i == 0 ? "" : ", ") + json_text(space.pins[i]);
        }
        text += "]}";
        comma = ",";
    }
    return text + "\n   ]\n}\n";
}

/// A text between the tags of a picture.
inline auto escaped(std::string_view text) -> std::string {
    std::string result;
    for (const char c : text) {
        result += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '>' ? "&gt;" : std::string(1, c);
    }
    return result;
}

[[nodiscard]] inline auto as_svg(const Machine& machine) -> std::string {
    constexpr int line = 22;
    constexpr int step = 18;
    const std::vector<Row> rows = Rows{machine}.all();
    const std::string height = std::to_string(rows.size() * line + line);
    std::string text = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\"" +
                       height + "\" font-family=\"monospace\" font-size=\"13\">\n";
    std::vector<int> above(1, 0); // the row of the last one on each level
    int y = 0;
    for (const Row& row : rows) {
        y += line;
        const int level = static_cast<int>(row.last.size());
        const int x = 10 + level * step;
        above.resize(row.last.size() + 1);
        above.back() = y;
        if (level > 0) {
            text += "<path fill=\"none\" stroke=\"#999\" d=\"M" + std::to_string(x - step + 4) +
                    " " + std::to_string(above[row.last.size() - 1] + 4) + " V" +
                    std::to_string(y - 4) + " H" + std::to_string(x - 2) + "\"/>\n";
        }
        text += "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) +
                (row.space->kind == Kind::user ? "\" font-weight=\"bold\">" : "\">") +
                name_of(*row.space) + "</text><text x=\"" + std::to_string(x + 190) + "\" y=\"" +
                std::to_string(y) + "\" fill=\"#555\">" + escaped(told(*row.space)) + "</text>\n";
    }
    return text + "</svg>\n";
}

} // namespace tree

#endif // NSJOIN_EXAMPLES_TREE_VIEWS_HPP
