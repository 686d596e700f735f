// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_REPORT_HPP
#define NSJOIN_BENCHMARKS_REPORT_HPP

#include <benchmark/benchmark.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// A promise about two rows: numerator / denominator is at most, or at least, `bound`.
struct Bound {
    std::string what;
    std::string numerator;
    std::string denominator;
    bool at_most = true;
    double bound = 0;
};

/// Median and quartiles.
struct Summary {
    double low = 0;
    double median = 0;
    double high = 0;
};

[[nodiscard]] auto summarize(std::vector<double> values) -> Summary;

/// Collects what the rounds measure, and prints it when all are done. Each of Google Benchmark's
/// runs over its list of benchmarks is one round.
class Collector : public benchmark::BenchmarkReporter {
  public:
    auto ReportContext(const Context& context) -> bool override;
    void ReportRuns(const std::vector<Run>& runs) override;

    /// Rounds before this call were for warming up.
    void forget();

    /// One line a row: its name is "group/setting/contender"; the ratio is to the first contender
    /// of the setting.
    void print_table() const;

    void print_bounds(const std::vector<Bound>& bounds) const;

    /// What the table and the bounds say, in the form of Google Benchmark. Times are in ns.
    void write_json(const std::string& path, const std::vector<Bound>& bounds) const;

  private:
    struct Row {
        Run run;                    ///< the first one
        std::vector<double> values; ///< nanoseconds, one a round
        std::string error;
    };

    /// The quotient of the two rows in each round, or nothing if one was not measured.
    [[nodiscard]] auto ratio(const std::string& numerator, const std::string& denominator) const
        -> std::optional<Summary>;
    [[nodiscard]] auto verdict(const Bound& bound) const -> std::string;
    void print_row(const std::string& name, const Row& row, const std::string& first) const;

    std::optional<Context> context_;
    std::vector<std::string> order_;
    std::map<std::string, Row> rows_;
};

} // namespace bench

#endif // NSJOIN_BENCHMARKS_REPORT_HPP
