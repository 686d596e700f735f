// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_WRITTEN_PLAN_HPP
#define NSJOIN_DETAIL_LAUNCHER_WRITTEN_PLAN_HPP

#include <nsjoin/detail/launcher/channel.hpp>
#include <nsjoin/detail/launcher/request.hpp>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

// A plan in the form in which it travels, which needs nothing any more of what the plan borrows;
// and how a request is sent, whichever form its plan has.

namespace nsjoin::inline v0_1::detail {

struct WrittenPlan {
    std::vector<std::byte> bytes;
    std::vector<OwnedFd> descriptors; ///< as the bytes number them
    Duration deadline;
};

/// A second descriptor that no program takes for a standard one of the caller's.
/// fcntl(2) F_DUPFD_CLOEXEC.
[[nodiscard]] inline auto duplicate_above_standard(BorrowedFd fd) noexcept -> Result<OwnedFd> {
    const long copy = call(SYS_fcntl, fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (copy < 0) {
        return fail(Step::duplicate, static_cast<int>(-copy));
    }
    return OwnedFd{static_cast<int>(copy)};
}

/// Errors: EMFILE; EBADF for a descriptor of the plan that is not open.
[[nodiscard]] inline auto written(const Draft& plan) -> Result<WrittenPlan> {
    WrittenPlan result{{}, {}, plan.deadline};
    Writer counted{{}};
    plan_fields(counted, plan);
    result.bytes.resize(counted.size());
    Writer writer{result.bytes};
    plan_fields(writer, plan);
    for (const BorrowedFd fd : writer.descriptors()) {
        auto copy = duplicate_above_standard(fd);
        if (!copy) {
            return Unexpected{copy.error()};
        }
        result.descriptors.push_back(*std::move(copy));
    }
    return result;
}

/// The first of a request, so that the descriptors have the numbers that they were written with.
inline void write_plan(Writer& archive, const Draft& plan) noexcept {
    plan_fields(archive, plan);
}

inline void write_plan(Writer& archive, const WrittenPlan& plan) noexcept {
    for (const OwnedFd& fd : plan.descriptors) {
        archive.attach(fd);
    }
    archive.copy(plan.bytes);
}

/// All that is asked. `Planned` is a Draft, or a WrittenPlan.
template <typename Planned>
void write_request(Writer& archive, const Planned& plan, const Command& command,
                   const CallerState& state) noexcept {
    write_plan(archive, plan);
    state_fields(archive, state);
    write_command(archive, command);
}

/// Writes a request and sends it. Errors: bad_value for too many descriptors; those of `send`.
template <typename Send, typename Planned>
[[nodiscard]] auto send_whole(Send&& send, const CallerState& state, const Planned& plan,
                              const Command& command) -> Result<void> {
    constexpr std::size_t head = sizeof(RequestHeader);
    // NOLINTNEXTLINE(*-member-init): written before it is read
    std::array<std::byte, 16UL * 1024> small;
    Writer writer{std::span{small}.subspan(head)};
    write_request(writer, plan, command, state);
    Array<std::byte> large;
    std::span<std::byte> all{small};
    if (!writer.fits()) {
        large = Array<std::byte>{head + writer.size()};
        all = large.view();
        writer = Writer{all.subspan(head)};
        write_request(writer, plan, command, state);
    }
    if (writer.too_many_descriptors()) {
        return fail(Step::check_plan, Reason::bad_value, "more than 300 descriptors in a request");
    }
    const RequestHeader header{writer.size(), writer.descriptors().size()};
    std::memcpy(all.data(), &header, head);
    return send_request(std::forward<Send>(send), all.first(head + writer.size()),
                        writer.descriptors());
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_WRITTEN_PLAN_HPP
