// SPDX-License-Identifier: Apache-2.0

// Package nsenter stands in the place of runc's package of that name. Its whole work is done by
// the constructor in nsenter.cc, which runs before Go's runtime has made a thread.
package nsenter

/*
#cgo CXXFLAGS: -std=c++20 -fno-exceptions -fno-rtti -Wall -Wextra
#cgo LDFLAGS: -Wl,--as-needed
*/
import "C"
