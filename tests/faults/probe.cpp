// SPDX-License-Identifier: Apache-2.0
// The program that the scenarios of tests/faults execute: says what it is like to descriptor 3.
#include "state.hpp"

auto main() -> int {
    faults::mark(faults::mark_out);
    static char bytes[faults::child_size]; // NOLINT(*-avoid-c-arrays,*-non-const-global-variables)
    faults::Text text{&bytes[0], sizeof bytes};
    faults::describe_child(text);
    (void)!::pwrite(3, text.view().data(), text.view().size() + 1, faults::child_offset);
    return 0;
}
