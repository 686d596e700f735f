// SPDX-License-Identifier: Apache-2.0
// libFuzzer's target over the decoder: the first byte chooses the dialect, the rest is a message.
// What is decoded must be sayable again, and mean the same.
#include <nsjoin/bootstrap.hpp>

#include <cstdlib>
#include <vector>

extern "C" auto LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) -> int {
    if (size == 0) {
        return 0;
    }
    const auto dialect = static_cast<nsjoin::Dialect>(1 + *data % 3);
    const std::span<const std::byte> bytes = std::as_bytes(std::span{data + 1, size - 1});
    const auto message = nsjoin::decode(dialect, bytes);
    if (!message) {
        if (message.error().step != nsjoin::Step::read_bootstrap ||
            message.error().subject.view().empty()) {
            std::abort();
        }
        return 0;
    }
    static std::vector<std::byte> buffer(nsjoin::message_capacity(dialect));
    buffer.resize(nsjoin::message_capacity(dialect));
    const auto written = nsjoin::encode(dialect, *message, buffer);
    if (!written) {
        std::abort();
    }
    const auto again = nsjoin::decode(dialect, std::span{buffer}.first(*written));
    if (!again || !(*again == *message)) {
        std::abort();
    }
    return 0;
}
