// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package launch starts programs in the namespaces of other processes: from any goroutine, at a cost
// that does not grow with the heap. The program that imports it is its own launcher: it is executed
// once more, sealed, and that small process, which has nothing of this one's memory, starts them.
//
//	process, err := launch.Exec(pid, launch.Cmd{Args: []string{"ip", "addr"}, Stdout: os.Stdout})
//	code, err := process.Wait()
package launch

/*
#cgo CXXFLAGS: -std=c++20 -fno-exceptions -fno-rtti -Wall -Wextra -I${SRCDIR}/../../../include
#cgo LDFLAGS: -Wl,--as-needed
#include <stdlib.h>
#include "launch.h"
*/
import "C"

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Cmd is what to start.
type Cmd struct {
	// Args are its arguments; the first is its path, or its name, which is looked for inside.
	Args []string
	// Env is its environment, "NAME=value" each; nil means that of this process. The names are
	// looked for in PATH of it.
	Env []string
	// Stdin, Stdout and Stderr; nil means those of this process.
	Stdin, Stdout, Stderr *os.File
	// Deadline is how long it may take until the program runs; 0 means as long as it takes.
	Deadline time.Duration
}

// Process is a child of this process.
type Process struct {
	// Pid is its number, as this process sees it.
	Pid   int
	pidfd int
}

// list makes a list that ends with a null pointer, in C's memory.
func list(words []string) (**C.char, func()) {
	size := C.size_t(len(words)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil)))
	memory := (**C.char)(C.calloc(1, size))
	slots := unsafe.Slice(memory, len(words)+1)
	for i, word := range words {
		slots[i] = C.CString(word)
	}
	return memory, func() {
		for _, word := range slots[:len(words)] {
			C.free(unsafe.Pointer(word))
		}
		C.free(unsafe.Pointer(memory))
	}
}

func number(file *os.File) C.int {
	if file == nil {
		return -1
	}
	return C.int(file.Fd())
}

// searched is where a name is looked for.
func searched(environment []string) string {
	for _, variable := range environment {
		if strings.HasPrefix(variable, "PATH=") {
			return strings.TrimPrefix(variable, "PATH=")
		}
	}
	return "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
}

// Exec starts the command in all namespaces of the target. It returns when the program runs, or says
// what failed, and then nothing is left.
func Exec(target int, cmd Cmd) (*Process, error) {
	if len(cmd.Args) == 0 {
		return nil, errors.New("launch: a command needs its name")
	}
	environment := cmd.Env
	if environment == nil {
		environment = os.Environ()
	}
	arguments, free := list(cmd.Args)
	defer free()
	variables, freeVariables := list(environment)
	defer freeVariables()
	search := C.CString(searched(environment))
	defer C.free(unsafe.Pointer(search))
	request := (*C.nsjoin_request)(C.calloc(1, C.size_t(unsafe.Sizeof(C.nsjoin_request{}))))
	defer C.free(unsafe.Pointer(request))
	request.target = C.int(target)
	request.path = *arguments
	request.search = search
	request.arguments = arguments
	request.environment = variables
	request.standard = [3]C.int{number(cmd.Stdin), number(cmd.Stdout), number(cmd.Stderr)}
	request.deadline = C.int64_t(cmd.Deadline)
	var pid C.int
	why := make([]byte, 512)
	pidfd := C.nsjoin_launch(request, &pid, (*C.char)(unsafe.Pointer(&why[0])), C.size_t(len(why)))
	if pidfd < 0 {
		return nil, errors.New(C.GoString((*C.char)(unsafe.Pointer(&why[0]))))
	}
	return &Process{Pid: int(pid), pidfd: int(pidfd)}, nil
}

// Signal sends a signal.
func (p *Process) Signal(signal syscall.Signal) error {
	const pidfdSendSignal = 424
	_, _, errno := syscall.Syscall6(pidfdSendSignal, uintptr(p.pidfd), uintptr(signal), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Wait waits for its end, once; its exit code, or 128 and the signal that ended it.
func (p *Process) Wait() (int, error) {
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.Pid, &status, 0, nil)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.Pid, &status, 0, nil)
	}
	syscall.Close(p.pidfd)
	if err != nil {
		return -1, err
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
