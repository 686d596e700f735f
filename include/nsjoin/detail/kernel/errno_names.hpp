// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_ERRNO_NAMES_HPP
#define NSJOIN_DETAIL_KERNEL_ERRNO_NAMES_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <array>
#include <cerrno>
#include <string_view>

namespace nsjoin::inline v0_1::detail {

struct ErrnoName {
    int code;
    std::string_view name;
};

// clang-format off
inline constexpr std::array errno_names{
    ErrnoName{EPERM, "EPERM"}, ErrnoName{ENOENT, "ENOENT"}, ErrnoName{ESRCH, "ESRCH"},
    ErrnoName{EINTR, "EINTR"}, ErrnoName{EIO, "EIO"}, ErrnoName{ENXIO, "ENXIO"},
    ErrnoName{E2BIG, "E2BIG"}, ErrnoName{ENOEXEC, "ENOEXEC"}, ErrnoName{EBADF, "EBADF"},
    ErrnoName{ECHILD, "ECHILD"}, ErrnoName{EAGAIN, "EAGAIN"}, ErrnoName{ENOMEM, "ENOMEM"},
    ErrnoName{EACCES, "EACCES"}, ErrnoName{EFAULT, "EFAULT"}, ErrnoName{ENOTBLK, "ENOTBLK"},
    ErrnoName{EBUSY, "EBUSY"}, ErrnoName{EEXIST, "EEXIST"}, ErrnoName{EXDEV, "EXDEV"},
    ErrnoName{ENODEV, "ENODEV"}, ErrnoName{ENOTDIR, "ENOTDIR"}, ErrnoName{EISDIR, "EISDIR"},
    ErrnoName{EINVAL, "EINVAL"}, ErrnoName{ENFILE, "ENFILE"}, ErrnoName{EMFILE, "EMFILE"},
    ErrnoName{ENOTTY, "ENOTTY"}, ErrnoName{ETXTBSY, "ETXTBSY"}, ErrnoName{EFBIG, "EFBIG"},
    ErrnoName{ENOSPC, "ENOSPC"}, ErrnoName{ESPIPE, "ESPIPE"}, ErrnoName{EROFS, "EROFS"},
    ErrnoName{EMLINK, "EMLINK"}, ErrnoName{EPIPE, "EPIPE"}, ErrnoName{EDOM, "EDOM"},
    ErrnoName{ERANGE, "ERANGE"}, ErrnoName{EDEADLK, "EDEADLK"},
    ErrnoName{ENAMETOOLONG, "ENAMETOOLONG"}, ErrnoName{ENOLCK, "ENOLCK"},
    ErrnoName{ENOSYS, "ENOSYS"}, ErrnoName{ENOTEMPTY, "ENOTEMPTY"}, ErrnoName{ELOOP, "ELOOP"},
    ErrnoName{ENOMSG, "ENOMSG"}, ErrnoName{EIDRM, "EIDRM"}, ErrnoName{ECHRNG, "ECHRNG"},
    ErrnoName{EL2NSYNC, "EL2NSYNC"}, ErrnoName{EL3HLT, "EL3HLT"}, ErrnoName{EL3RST, "EL3RST"},
    ErrnoName{ELNRNG, "ELNRNG"}, ErrnoName{EUNATCH, "EUNATCH"}, ErrnoName{ENOCSI, "ENOCSI"},
    ErrnoName{EL2HLT, "EL2HLT"}, ErrnoName{EBADE, "EBADE"}, ErrnoName{EBADR, "EBADR"},
    ErrnoName{EXFULL, "EXFULL"}, ErrnoName{ENOANO, "ENOANO"}, ErrnoName{EBADRQC, "EBADRQC"},
    ErrnoName{EBADSLT, "EBADSLT"}, ErrnoName{EBFONT, "EBFONT"}, ErrnoName{ENOSTR, "ENOSTR"},
    ErrnoName{ENODATA, "ENODATA"}, ErrnoName{ETIME, "ETIME"}, ErrnoName{ENOSR, "ENOSR"},
    ErrnoName{ENONET, "ENONET"}, ErrnoName{ENOPKG, "ENOPKG"}, ErrnoName{EREMOTE, "EREMOTE"},
    ErrnoName{ENOLINK, "ENOLINK"}, ErrnoName{EADV, "EADV"}, ErrnoName{ESRMNT, "ESRMNT"},
    ErrnoName{ECOMM, "ECOMM"}, ErrnoName{EPROTO, "EPROTO"}, ErrnoName{EMULTIHOP, "EMULTIHOP"},
    ErrnoName{EDOTDOT, "EDOTDOT"}, ErrnoName{EBADMSG, "EBADMSG"}, ErrnoName{EOVERFLOW, "EOVERFLOW"},
    ErrnoName{ENOTUNIQ, "ENOTUNIQ"}, ErrnoName{EBADFD, "EBADFD"}, ErrnoName{EREMCHG, "EREMCHG"},
    ErrnoName{ELIBACC, "ELIBACC"}, ErrnoName{ELIBBAD, "ELIBBAD"}, ErrnoName{ELIBSCN, "ELIBSCN"},
    ErrnoName{ELIBMAX, "ELIBMAX"}, ErrnoName{ELIBEXEC, "ELIBEXEC"}, ErrnoName{EILSEQ, "EILSEQ"},
    ErrnoName{ERESTART, "ERESTART"}, ErrnoName{ESTRPIPE, "ESTRPIPE"}, ErrnoName{EUSERS, "EUSERS"},
    ErrnoName{ENOTSOCK, "ENOTSOCK"}, ErrnoName{EDESTADDRREQ, "EDESTADDRREQ"},
    ErrnoName{EMSGSIZE, "EMSGSIZE"}, ErrnoName{EPROTOTYPE, "EPROTOTYPE"},
    ErrnoName{ENOPROTOOPT, "ENOPROTOOPT"}, ErrnoName{EPROTONOSUPPORT, "EPROTONOSUPPORT"},
    ErrnoName{ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"}, ErrnoName{EOPNOTSUPP, "EOPNOTSUPP"},
    ErrnoName{EPFNOSUPPORT, "EPFNOSUPPORT"}, ErrnoName{EAFNOSUPPORT, "EAFNOSUPPORT"},
    ErrnoName{EADDRINUSE, "EADDRINUSE"}, ErrnoName{EADDRNOTAVAIL, "EADDRNOTAVAIL"},
    ErrnoName{ENETDOWN, "ENETDOWN"}, ErrnoName{ENETUNREACH, "ENETUNREACH"},
    ErrnoName{ENETRESET, "ENETRESET"}, ErrnoName{ECONNABORTED, "ECONNABORTED"},
    ErrnoName{ECONNRESET, "ECONNRESET"}, ErrnoName{ENOBUFS, "ENOBUFS"},
    ErrnoName{EISCONN, "EISCONN"}, ErrnoName{ENOTCONN, "ENOTCONN"},
    ErrnoName{ESHUTDOWN, "ESHUTDOWN"}, ErrnoName{ETOOMANYREFS, "ETOOMANYREFS"},
    ErrnoName{ETIMEDOUT, "ETIMEDOUT"}, ErrnoName{ECONNREFUSED, "ECONNREFUSED"},
    ErrnoName{EHOSTDOWN, "EHOSTDOWN"}, ErrnoName{EHOSTUNREACH, "EHOSTUNREACH"},
    ErrnoName{EALREADY, "EALREADY"}, ErrnoName{EINPROGRESS, "EINPROGRESS"},
    ErrnoName{ESTALE, "ESTALE"}, ErrnoName{EUCLEAN, "EUCLEAN"}, ErrnoName{ENOTNAM, "ENOTNAM"},
    ErrnoName{ENAVAIL, "ENAVAIL"}, ErrnoName{EISNAM, "EISNAM"}, ErrnoName{EREMOTEIO, "EREMOTEIO"},
    ErrnoName{EDQUOT, "EDQUOT"}, ErrnoName{ENOMEDIUM, "ENOMEDIUM"},
    ErrnoName{EMEDIUMTYPE, "EMEDIUMTYPE"}, ErrnoName{ECANCELED, "ECANCELED"},
    ErrnoName{ENOKEY, "ENOKEY"}, ErrnoName{EKEYEXPIRED, "EKEYEXPIRED"},
    ErrnoName{EKEYREVOKED, "EKEYREVOKED"}, ErrnoName{EKEYREJECTED, "EKEYREJECTED"},
    ErrnoName{EOWNERDEAD, "EOWNERDEAD"}, ErrnoName{ENOTRECOVERABLE, "ENOTRECOVERABLE"},
    ErrnoName{ERFKILL, "ERFKILL"}, ErrnoName{EHWPOISON, "EHWPOISON"},
};

// clang-format on

/// The errno by name, of those that every Linux has; "errno " for another.
[[nodiscard]] constexpr auto errno_name(int code) noexcept -> std::string_view {
    for (const ErrnoName& entry : errno_names) {
        if (entry.code == code) {
            return entry.name;
        }
    }
    return "errno ";
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_ERRNO_NAMES_HPP
