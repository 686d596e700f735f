// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package nsenter enters the namespaces that a supervisor asks for, before Go's runtime has made a
// thread. Import it for that effect alone, in the main package of the runtime:
//
//	import _ "nsjoin/nsenter"
//
// It speaks the dialect of runc 1.1, and takes the place of runc's package of that name. Nothing
// happens without _LIBCONTAINER_INITPIPE in the environment.
package nsenter

/*
#cgo CXXFLAGS: -std=c++20 -fno-exceptions -fno-rtti -Wall -Wextra -I${SRCDIR}/../../../include
#cgo LDFLAGS: -Wl,--as-needed
*/
import "C"
