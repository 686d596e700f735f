// SPDX-License-Identifier: Apache-2.0
// The environment that the command gets, where it is not the caller's.
#ifndef EXAMPLES_SUPPORT_ENVIRONMENT_HPP
#define EXAMPLES_SUPPORT_ENVIRONMENT_HPP

#include "options.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace examples {

/// The variables that stay, as they were when the option was read.
class KeptVariables {
  public:
    /// Adds those of a comma-separated list that are set.
    void add(std::string_view list) {
        while (!list.empty()) {
            const std::string name{list.substr(0, list.find(','))};
            list.remove_prefix(std::min(list.size(), name.size() + 1));
            const char* value = name.empty() ? nullptr : std::getenv(name.c_str());
            if (value != nullptr) {
                variables_.emplace_back(name, value);
            }
        }
    }

    /// Clears the environment but for them.
    void leave_alone() const {
        bool done = clearenv() == 0;
        for (const auto& [name, value] : variables_) {
            done = done && setenv(name.c_str(), value.c_str(), 1) == 0;
        }
        if (!done) {
            die(describe("clear the environment", "", errno));
        }
    }

  private:
    std::vector<std::pair<std::string, std::string>> variables_;
};

} // namespace examples

#endif // EXAMPLES_SUPPORT_ENVIRONMENT_HPP
