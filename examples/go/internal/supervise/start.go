// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const patience = 20 * time.Second

// Exit codes of the test binary in the roles that Embedded knows.
const (
	ChildCode    = 42
	OrdinaryCode = 43
)

// Program is an embedding program that was started: its joiner, and later its child.
type Program struct {
	Pipe    net.Conn
	Decoder *json.Decoder // of the pipe
	command *exec.Cmd
	logs    chan []byte
	errors  bytes.Buffer
}

// Options of a start.
type Options struct {
	Environment []string   // beside what every program gets
	Read        []int      // descriptors whose content the child is to report
	Files       []*os.File // from number 5 on
	LogLevel    int        // 0: no log pipe
}

// NeedRoot skips the test without root.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to join namespaces")
	}
}

func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	own := os.NewFile(uintptr(ends[0]), "own end")
	defer own.Close()
	conn, err := net.FileConn(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, os.NewFile(uintptr(ends[1]), "the program's end")
}

// Start runs the test binary again, and sends the message if there is one.
func Start(t *testing.T, message []byte, options Options) *Program {
	t.Helper()
	conn, end := socketPair(t)
	defer end.Close()
	program := &Program{Pipe: conn, Decoder: json.NewDecoder(conn), logs: make(chan []byte, 1)}
	logs, logEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer logEnd.Close()
	program.command = &exec.Cmd{
		Path:       os.Args[0],
		Args:       []string{"embedding-program"},
		Env:        options.environment(),
		ExtraFiles: append([]*os.File{end, logEnd}, options.Files...),
		Stderr:     &program.errors,
	}
	if err := program.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		text, _ := io.ReadAll(logs)
		logs.Close()
		program.logs <- text
	}()
	if _, err := conn.Write(message); err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Fatal(err)
	}
	return program
}

func (options Options) environment() []string {
	environment := append([]string{
		"_LIBCONTAINER_INITPIPE=" + strconv.Itoa(pipeNumber), roleName + "=child",
	}, options.Environment...)
	if options.LogLevel > 0 {
		environment = append(environment, "_LIBCONTAINER_LOGPIPE="+strconv.Itoa(logNumber),
			"_LIBCONTAINER_LOGLEVEL="+strconv.Itoa(options.LogLevel))
	}
	var numbers []string
	for _, number := range options.Read {
		numbers = append(numbers, strconv.Itoa(number))
	}
	return append(environment, readName+"="+strings.Join(numbers, " "))
}

// Announced reads the byte that says that the program is there.
func (program *Program) Announced(t *testing.T) {
	t.Helper()
	word := []byte{1}
	if _, err := io.ReadFull(program.Pipe, word); err != nil || word[0] != 0 {
		t.Fatalf("byte %d (%v) before the reply: expected a 0", word[0], err)
	}
}

// Ends waits for the joiner, and checks its exit code.
func (program *Program) Ends(t *testing.T, code int) {
	t.Helper()
	_ = program.command.Wait()
	if seen := program.command.ProcessState.ExitCode(); seen != code {
		t.Fatalf("exit code %d, expected %d; on standard error: %s", seen, code, program.errors.String())
	}
}

// Errors is what the program wrote on standard error until it ended.
func (program *Program) Errors() string { return program.errors.String() }

// Fails waits for the joiner, which has to fail, and for the end of the pipe, with no reply.
func (program *Program) Fails(t *testing.T) {
	t.Helper()
	program.failsUntold(t)
	NoChild(t)
}

// FailsLate is Fails when a child was made already: that is this process's own, and has to have
// ended, though nobody told its pid.
func (program *Program) FailsLate(t *testing.T) {
	t.Helper()
	program.failsUntold(t)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return
		}
		if pid == 0 && time.Now().After(end) {
			t.Fatal("a child is left, and lives")
		}
	}
}

func (program *Program) failsUntold(t *testing.T) {
	t.Helper()
	program.Ends(t, 1)
	rest, err := io.ReadAll(program.Pipe)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if bytes.Contains(rest, []byte("pid")) {
		t.Fatalf("a reply: %q", rest)
	}
}

// Child reads the child's report, and waits for the child, which is this process's own.
func (program *Program) Child(t *testing.T, pid int) Report {
	t.Helper()
	var report Report
	if err := program.Decoder.Decode(&report); err != nil {
		t.Fatalf("no report of the child: %v", err)
	}
	var status syscall.WaitStatus
	if seen, err := syscall.Wait4(pid, &status, 0, nil); seen != pid || err != nil {
		t.Fatalf("the child %d is not this process's: %d, %v", pid, seen, err)
	}
	if status.ExitStatus() != ChildCode {
		t.Fatalf("the child ended with %v", status)
	}
	NoChild(t)
	return report
}

// NoChild checks that no child is left, not even one that has ended.
func NoChild(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

// LogLine is what a log line consists of.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"msg"`
}

// Logs are all lines, after the end of the program and its child.
func (program *Program) Logs(t *testing.T) []LogLine {
	t.Helper()
	var lines []LogLine
	decoder := json.NewDecoder(bytes.NewReader(<-program.logs))
	decoder.DisallowUnknownFields()
	for {
		var line LogLine
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatalf("a log line is not as it should be: %v", err)
		}
		if line.Level == "" || line.Text == "" {
			t.Fatalf("a log line without level or text: %+v", line)
		}
		lines = append(lines, line)
	}
}

// OpenTerminal returns the master of a new pseudoterminal, and the path of its peer.
func OpenTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no /dev/ptmx: ", err)
	}
	t.Cleanup(func() { master.Close() })
	var locked, number int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &locked, syscall.TIOCGPTN: &number} {
		if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value))); code != 0 {
			t.Fatal(code)
		}
	}
	return master, "/dev/pts/" + strconv.Itoa(int(number))
}

// foreground is the process group in front of the controlling terminal, 0 without one.
func foreground() int {
	var group int32
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group))); code != 0 {
		return 0
	}
	return int(group)
}
