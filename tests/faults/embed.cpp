// SPDX-License-Identifier: Apache-2.0
// The embedding program and the launcher of the scenarios of tests/faults. What its constructor
// speaks, the environment says; its main function says what it is like to the descriptor that is
// named there.
#include "state.hpp"

#include <nsjoin/constructor.hpp>
#include <nsjoin/launcher.hpp>

NSJOIN_LAUNCHER();

namespace {

auto is(const char* name, const char* value) -> bool {
    const char* const set = std::getenv(name); // NOLINT(*-mt-unsafe)
    return set != nullptr && std::string_view{set} == value;
}

[[gnu::constructor(102)]] void enter() {
    nsjoin::ConstructorOptions options;
    for (const nsjoin::Dialect dialect : {nsjoin::Dialect::environment, nsjoin::Dialect::runc_2016,
                                          nsjoin::Dialect::runc_1_1, nsjoin::Dialect::runc_1_2}) {
        if (is("FAULTS_DIALECT", nsjoin::facts(dialect).name.data())) {
            options.dialect = dialect;
        }
    }
    options.seal = is("FAULTS_SEAL", "yes");
    nsjoin::bootstrap(options);
}

} // namespace

auto main() -> int {
    faults::mark(faults::mark_out);
    static char bytes[faults::child_size]; // NOLINT(*-avoid-c-arrays,*-non-const-global-variables)
    faults::Text text{&bytes[0], sizeof bytes};
    faults::describe_child(text);
    const char* const path = std::getenv("FAULTS_REPORT"); // NOLINT(*-mt-unsafe)
    const int fd = path == nullptr ? -1 : ::open(path, O_WRONLY | O_CLOEXEC);
    (void)!::pwrite(fd, text.view().data(), text.view().size() + 1, faults::child_offset);
    return 0;
}
