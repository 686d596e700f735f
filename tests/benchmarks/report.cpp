// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace bench {
namespace {

auto text(const char* format, auto... values) -> std::string {
    std::string result(200, '\0');
    const int length = std::snprintf(result.data(), result.size(), format, values...);
    result.resize(static_cast<std::size_t>(length));
    return result;
}

auto setting_of(const std::string& name) -> std::string {
    return name.substr(0, name.rfind('/'));
}

} // namespace

auto summarize(std::vector<double> values) -> Summary {
    std::sort(values.begin(), values.end());
    const auto at = [&](std::size_t quarters) {
        return values[(values.size() - 1) * quarters / 4];
    };
    return {at(1), at(2), at(3)};
}

auto Collector::ReportContext(const Context& context) -> bool {
    context_.emplace(context);
    return true;
}

namespace {

/// Why there is no result, or nothing: the library renamed it in 1.8.
template <typename Run>
auto error_of(const Run& run) -> std::string {
    if constexpr (requires { run.error_occurred; }) {
        return run.error_occurred ? run.error_message : std::string{};
    } else {
        return run.skipped != decltype(run.skipped){} ? run.skip_message : std::string{};
    }
}

} // namespace

void Collector::ReportRuns(const std::vector<Run>& runs) {
    for (const Run& run : runs) {
        const std::string& name = run.run_name.function_name;
        const auto [place, added] = rows_.try_emplace(name);
        Row& row = place->second;
        if (added) {
            order_.push_back(name);
            row.run = run;
        }
        if (const std::string error = error_of(run); !error.empty()) {
            row.error = error;
        } else {
            row.values.push_back(run.real_accumulated_time / static_cast<double>(run.iterations) *
                                 1e9);
        }
    }
}

void Collector::forget() {
    for (auto& [name, row] : rows_) {
        row.values.clear();
    }
}

auto Collector::ratio(const std::string& numerator, const std::string& denominator) const
    -> std::optional<Summary> {
    const auto upper = rows_.find(numerator);
    const auto lower = rows_.find(denominator);
    if (upper == rows_.end() || lower == rows_.end() || upper->second.values.empty() ||
        upper->second.values.size() != lower->second.values.size()) {
        return std::nullopt;
    }
    std::vector<double> quotients;
    for (std::size_t i = 0; i < upper->second.values.size(); ++i) {
        quotients.push_back(upper->second.values[i] / lower->second.values[i]);
    }
    return summarize(quotients);
}

void Collector::print_row(const std::string& name, const Row& row, const std::string& first) const {
    const std::string contender = name.substr(name.rfind('/') + 1);
    if (!row.error.empty() || row.values.empty()) {
        std::printf("  %-34s SKIP: %s\n", contender.c_str(), row.error.c_str());
        return;
    }
    const Summary all = summarize(row.values);
    const auto quotient = ratio(name, first);
    std::printf("  %-34s %11.1f %11.1f %11.1f %8s\n", contender.c_str(), all.median / 1e3,
                all.low / 1e3, all.high / 1e3,
                quotient ? text("%.2f", quotient->median).c_str() : "");
}

void Collector::print_table() const {
    const std::size_t rounds = rows_.empty() ? 0 : rows_.at(order_.front()).values.size();
    std::printf("\n%zu rounds; each does each job once or in one block. Microseconds.\n", rounds);
    std::printf("  %-34s %11s %11s %11s %8s\n", "", "median", "1st quart.", "3rd quart.", "to 1st");
    std::string setting;
    std::string first;
    for (const std::string& name : order_) {
        if (setting_of(name) != setting) {
            setting = setting_of(name);
            first = name;
            std::printf("%s\n", setting.c_str());
        }
        print_row(name, rows_.at(name), first);
    }
}

auto Collector::verdict(const Bound& bound) const -> std::string {
    const auto quotient = ratio(bound.numerator, bound.denominator);
    const char* const relation = bound.at_most ? "at most" : "at least";
    if (!quotient) {
        return text("not measured, %s %.2f", relation, bound.bound);
    }
    const bool good =
        bound.at_most ? quotient->median <= bound.bound : quotient->median >= bound.bound;
    return text("%7.3f (%.3f to %.3f), %s %.2f: %s", quotient->median, quotient->low,
                quotient->high, relation, bound.bound, good ? "ok" : "over");
}

void Collector::print_bounds(const std::vector<Bound>& bounds) const {
    std::printf("\nRatios: the median of the rounds' own, with quartiles, and the bound.\n");
    for (const Bound& bound : bounds) {
        std::printf("%s\n    %s\n", bound.what.c_str(), verdict(bound).c_str());
    }
}

void Collector::write_json(const std::string& path, const std::vector<Bound>& bounds) const {
    std::ofstream file{path};
    benchmark::JSONReporter reporter;
    reporter.SetOutputStream(&file);
    reporter.SetErrorStream(&file);
    for (const Bound& bound : bounds) {
        benchmark::AddCustomContext(bound.what, verdict(bound));
    }
    reporter.ReportContext(*context_);
    std::vector<Run> runs;
    for (const std::string& name : order_) {
        const Row& row = rows_.at(name);
        if (row.values.empty()) {
            continue;
        }
        const Summary all = summarize(row.values);
        Run run = row.run;
        run.iterations = 1;
        run.repetitions = static_cast<std::int64_t>(row.values.size());
        run.time_unit = benchmark::kNanosecond;
        run.real_accumulated_time = all.median / 1e9;
        run.cpu_accumulated_time = 0;
        run.counters = {{"first_quartile", all.low}, {"third_quartile", all.high}};
        runs.push_back(run);
    }
    reporter.ReportRuns(runs);
    reporter.Finalize();
}

} // namespace bench
