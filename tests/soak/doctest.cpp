// SPDX-License-Identifier: Apache-2.0
// What the soak shares with the unit tests needs doctest's own code.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
